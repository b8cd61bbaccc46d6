//! What a WebSocket has to understand and what it has to refuse, against the server itself: framing, pings, reserved
//! bits, opcodes, pieces, texts, ends and limits. Each case says pieces and expects what is heard, up to the end of
//! the stream if it ends. What one would have echoed elsewhere is here a request of any length that the server does
//! not know: the answer bears its number.

mod support;

use dunlin_protocol::EncodedFrame;
use dunlin_protocol::limits::FRAME_BYTES_MAX_BEFORE_LOGIN;
use dunlin_protocol::websocket::{Opcode, close_reason};
use dunlin_protocol::wire::{CloseReason, ErrorCode, Frame, frame::Body};
use dunlin_protocol::{frame, websocket};
use support::messages::hello;
use support::web::Web;
use support::{Node, Stream, client, tls, web};

use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};

/// What is said.
#[derive(Debug, Clone)]
enum Say {
    /// A piece, and whether it is the last of its message.
    Piece(bool, Opcode, Vec<u8>),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

/// What is heard.
#[derive(Debug, Clone, PartialEq)]
enum Hear {
    /// The answer to the request of this number.
    Answer(u64),
    /// A heartbeat.
    Heartbeat,
    Pong(Vec<u8>),
    /// A Close frame for this reason, the last word with this code, and the end.
    End(CloseReason, u16),
    /// The last word alone, with this payload, and the end.
    SaidBack(Vec<u8>),
}

use Hear::{Answer, End, Heartbeat, SaidBack};

struct Case {
    name: &'static str,
    say: Vec<Say>,
    hear: Vec<Hear>,
}

fn case(name: &'static str, say: Vec<Say>, hear: Vec<Hear>) -> Case {
    Case { name, say, hear }
}

/// A request that no server knows, in so many bytes.
fn unknown(request_id: u8, bytes: usize) -> Vec<u8> {
    let mut body = vec![0x08, request_id];
    let missing = bytes - body.len();
    // A field of bytes that is skipped fills it up, with a length of one byte or of three.
    if missing > 130 {
        let length = missing - 5;
        let [a, b, c] = [length & 0x7f | 0x80, length >> 7 & 0x7f | 0x80, length >> 14];
        body.extend([0xfa, 0x3f, a as u8, b as u8, c as u8]);
    } else if missing > 0 {
        body.extend([0xfa, 0x3f, (missing - 3) as u8]);
    }
    body.resize(bytes, 0xa5);
    body
}

fn message(request_id: u8, bytes: usize) -> Say {
    Say::Piece(true, Binary, unknown(request_id, bytes))
}

fn ping(payload: &[u8]) -> Say {
    Say::Piece(true, Ping, payload.into())
}

fn heard_pong(payload: &[u8]) -> Hear {
    Hear::Pong(payload.into())
}

fn close(payload: &[u8]) -> Say {
    Say::Piece(true, Close, payload.into())
}

fn close_with(code: u16, text: &[u8]) -> Say {
    close(&[&code.to_be_bytes(), text].concat())
}

/// A request in so many pieces, perhaps with others between them.
fn in_pieces(request_id: u8, bytes: usize, of_piece: usize, between: &[Say]) -> Vec<Say> {
    let body = unknown(request_id, bytes);
    let mut said = Vec::new();
    let count = body.chunks(of_piece).count();
    for (index, part) in body.chunks(of_piece).enumerate() {
        let opcode = if index == 0 { Binary } else { Continuation };
        said.push(Say::Piece(index + 1 == count, opcode, part.into()));
        if index + 1 < count {
            said.extend_from_slice(between);
        }
    }
    said
}

const VIOLATION: CloseReason = CloseReason::ProtocolViolation;

fn framing() -> Vec<Case> {
    let lengths = [0, 5, 124, 125, 126, 127, 128, 200, 65_000, 65_531, 65_535, 65_536];
    let mut cases = Vec::new();
    for bytes in lengths {
        let (say, hear) = match bytes {
            0 => (Say::Piece(true, Binary, Vec::new()), Heartbeat),
            bytes => (message(7, bytes), Answer(7)),
        };
        cases.push(case("a message of a length at which something changes", vec![say], vec![hear]));
    }
    cases
}

fn pings() -> Vec<Case> {
    let all_bytes: Vec<u8> = (0..125).map(|byte| byte * 2).collect();
    let large = Say::Raw([&[0x89, 0xfe, 0, 126][..], &[0; 130]].concat());
    vec![
        case("a ping without a payload", vec![ping(b"")], vec![heard_pong(b"")]),
        case("a ping with a text", vec![ping(b"hello")], vec![heard_pong(b"hello")]),
        case(
            "a ping of bytes",
            vec![ping(&[0, 0xff, 0xfe, 0xfd])],
            vec![heard_pong(&[0, 0xff, 0xfe, 0xfd])],
        ),
        case("the largest ping", vec![ping(&all_bytes)], vec![heard_pong(&all_bytes)]),
        case("a ping that is too large", vec![large], vec![End(VIOLATION, 1002)]),
        case(
            "a pong that nobody asked for",
            vec![Say::Piece(true, Pong, b"hello".to_vec()), ping(b"x")],
            vec![heard_pong(b"x")],
        ),
        case(
            "a pong and a message",
            vec![Say::Piece(true, Pong, Vec::new()), message(3, 9)],
            vec![Answer(3)],
        ),
    ]
}

fn reserved() -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in 1..8u8 {
        let first = 0x82 | bits << 4;
        let say = vec![message(3, 9), Say::Raw(vec![first, 0x80, 0, 0, 0, 0]), ping(b"")];
        cases.push(case("reserved bits", say, vec![Answer(3), End(VIOLATION, 1002)]));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let say = vec![message(3, 9), Say::Raw(vec![0x80 | opcode, 0x80, 0, 0, 0, 0])];
        cases.push(case("a reserved opcode", say, vec![Answer(3), End(VIOLATION, 1002)]));
    }
    let unmasked = Say::Raw(vec![0x82, 1, 0x08]);
    cases.push(case(
        "no mask",
        vec![message(3, 9), unmasked],
        vec![Answer(3), End(VIOLATION, 1002)],
    ));
    for long in
        [&[0x82, 0xfe, 0, 125][..], &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 1], &[0x82, 0xff, 0xff]]
    {
        let mut long = long.to_vec();
        long.resize(20, 0);
        cases.push(case(
            "a length in too many bytes",
            vec![Say::Raw(long)],
            vec![End(VIOLATION, 1002)],
        ));
    }
    cases
}

fn pieces() -> Vec<Case> {
    let between = [ping(b"between")];
    let mut cases = vec![
        case("two pieces", in_pieces(4, 20, 10, &[]), vec![Answer(4)]),
        case("pieces of a byte", in_pieces(4, 300, 1, &[]), vec![Answer(4)]),
        case(
            "a ping between two pieces",
            in_pieces(4, 20, 10, &between),
            vec![heard_pong(b"between"), Answer(4)],
        ),
        case(
            "empty pieces",
            vec![
                Say::Piece(false, Binary, Vec::new()),
                Say::Piece(false, Continuation, Vec::new()),
                Say::Piece(true, Continuation, unknown(4, 9)),
            ],
            vec![Answer(4)],
        ),
        case(
            "nothing in pieces",
            vec![Say::Piece(false, Binary, Vec::new()), Say::Piece(true, Continuation, Vec::new())],
            vec![Heartbeat],
        ),
        case(
            "a message and another in pieces",
            [vec![message(3, 9)], in_pieces(4, 1000, 300, &[]), vec![message(5, 9)]].concat(),
            vec![Answer(3), Answer(4), Answer(5)],
        ),
        case("a large message in pieces", in_pieces(4, 65_536, 4096, &[]), vec![Answer(4)]),
    ];
    for is_final in [true, false] {
        let of_nothing = Say::Piece(is_final, Continuation, b"x".to_vec());
        let ends = vec![Answer(3), End(VIOLATION, 1002)];
        cases.push(case("a piece of nothing", vec![message(3, 9), of_nothing], ends));
        let begun = Say::Piece(false, Binary, unknown(4, 9));
        let within = Say::Piece(is_final, Binary, unknown(5, 9));
        cases.push(case(
            "a message within another",
            vec![begun, within],
            vec![End(VIOLATION, 1002)],
        ));
    }
    for control in [Close, Ping, Pong] {
        let say = vec![Say::Piece(false, control, Vec::new())];
        cases.push(case("a control piece that is not whole", say, vec![End(VIOLATION, 1002)]));
    }
    cases
}

/// There are no texts here, so whether they are good is not looked at; but the text of an end is.
fn texts() -> Vec<Case> {
    let text = |is_final, bytes: &[u8]| Say::Piece(is_final, Text, bytes.into());
    let mut cases = Vec::new();
    for bytes in
        [&b""[..], b"hello", "\u{3ba}\u{1f44d}".as_bytes(), &[0xff, 0xfe], &[0xed, 0xa0, 0x80]]
    {
        for is_final in [true, false] {
            let ends = vec![Answer(3), End(VIOLATION, 1003)];
            cases.push(case("a text", vec![message(3, 9), text(is_final, bytes)], ends));
        }
    }
    for bytes in
        [&[0xff][..], &[0xc0, 0xaf], &[0xed, 0xa0, 0x80], &[0xf4, 0x90, 0x80, 0x80], &[0xce]]
    {
        let ends = vec![End(VIOLATION, 1007)];
        cases.push(case("a text of an end that is none", vec![close_with(1000, bytes)], ends));
    }
    cases
}

fn ends() -> Vec<Case> {
    let longest = [&1000u16.to_be_bytes()[..], &[b'x'; 123]].concat();
    let too_long = Say::Raw([&[0x88, 0xfe, 0, 126][..], &[0; 130]].concat());
    let mut cases = vec![
        case("an end without a code", vec![close(b"")], vec![SaidBack(Vec::new())]),
        case("an end of one byte", vec![close(&[3])], vec![End(VIOLATION, 1002)]),
        case("the longest end", vec![close(&longest)], vec![SaidBack(vec![3, 0xe8])]),
        case("an end that is too long", vec![too_long], vec![End(VIOLATION, 1002)]),
        case(
            "an end, and what comes behind it",
            vec![close_with(1000, b""), ping(b"x"), message(3, 9), close(b"")],
            vec![SaidBack(vec![3, 0xe8])],
        ),
        case(
            "an end behind a request",
            vec![message(3, 9), close_with(1001, b"bye")],
            vec![Answer(3), End(CloseReason::PeerClosed, 1001)],
        ),
        case(
            "an end within a message",
            vec![Say::Piece(false, Binary, unknown(3, 9)), close_with(1000, b"")],
            vec![SaidBack(vec![3, 0xe8])],
        ),
    ];
    let good = [
        1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
        4000, 4999,
    ];
    for code in good {
        let back = SaidBack(code.to_be_bytes().to_vec());
        cases.push(case("a code that may be said", vec![close_with(code, b"why")], vec![back]));
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let ends = vec![End(VIOLATION, 1002)];
        cases.push(case("a code that nobody may say", vec![close_with(code, b"")], ends));
    }
    cases
}

fn limits() -> Vec<Case> {
    let limit = FRAME_BYTES_MAX_BEFORE_LOGIN as usize;
    let too_large = || End(CloseReason::FrameTooLarge, 1009);
    let header =
        |length: u64| Say::Raw([&[0x82, 0xff][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat());
    vec![
        case("the largest message", vec![message(3, limit)], vec![Answer(3)]),
        case("a message that is larger", vec![message(3, limit + 1)], vec![too_large()]),
        case("a length that is larger", vec![header(limit as u64 + 1)], vec![too_large()]),
        case("a length beyond all lengths", vec![header(i64::MAX as u64)], vec![too_large()]),
        case("the largest message in pieces", in_pieces(3, limit, 1000, &[]), vec![Answer(3)]),
        case("a larger one in pieces", in_pieces(3, limit + 1, 1000, &[]), vec![too_large()]),
    ]
}

/// A connection that has said Hello.
fn greeted(stream: Stream) -> Web {
    let mut web = Web::over(stream);
    web.say(true, Binary, &EncodedFrame::response(100, hello()).body());
    let Some((Binary, welcome)) = web.hear() else { panic!("no Welcome") };
    let welcome = frame::decode(welcome.into()).unwrap();
    assert!(matches!(welcome.body, Some(Body::Welcome(_))));
    web
}

fn heard(web: &mut Web) -> Hear {
    let (opcode, payload) = web.hear().expect("something is heard");
    match opcode {
        Pong => return Hear::Pong(payload),
        Close => {
            assert_eq!(web.hear(), None, "something behind the last word");
            return SaidBack(payload);
        }
        Binary => {}
        Text | Ping | Continuation => panic!("{opcode:?} {payload:?}"),
    }
    match frame::decode(payload.into()).unwrap() {
        Frame { body: None, .. } => Heartbeat,
        Frame { body: Some(Body::Error(error)), request_id } => {
            assert_eq!(error.code(), ErrorCode::UnknownCommand);
            Answer(request_id)
        }
        Frame { body: Some(Body::Close(close)), .. } => {
            let code = web.code().expect("the last word has a code");
            let of_code = close_reason(code);
            assert_eq!(
                of_code.map(websocket::close_code),
                (code != 1003).then_some(code).or(Some(1002))
            );
            End(close.reason(), code)
        }
        other => panic!("{other:?}"),
    }
}

fn run(case: &Case, stream: Stream, say: impl Fn(&mut Web, &[u8])) {
    let mut web = greeted(stream);
    let mut bytes = Vec::new();
    for said in &case.say {
        match said {
            Say::Piece(is_final, opcode, payload) => {
                bytes.extend(web.piece(*is_final, *opcode, payload));
            }
            Say::Raw(raw) => bytes.extend_from_slice(raw),
        }
    }
    say(&mut web, &bytes);
    for expected in &case.hear {
        assert_eq!(heard(&mut web), *expected, "{}: {:?}", case.name, case.say.last());
    }
}

fn run_all(cases: &[Case]) {
    let node = Node::start();
    let config = web::config(&node.certificate());
    for case in cases {
        let plain = || Stream::Plain(client::connect(node.web()));
        run(case, plain(), Web::say_raw);
        // The server may have answered, and closed, before all of it was said.
        if case.say.len() < 100 && !matches!(case.hear.last(), Some(End(..) | SaidBack(_))) {
            run(case, plain(), |web, bytes| bytes.chunks(101).for_each(|piece| web.say_raw(piece)));
        }
        let secure = tls::connect_to(node.web_tls(), &config).stream;
        run(case, secure, Web::say_raw);
    }
    node.settle();
}

#[test]
fn framing_as_the_standard_has_it() {
    run_all(&framing());
}

#[test]
fn pings_are_answered_and_pongs_are_not() {
    run_all(&pings());
}

#[test]
fn what_is_reserved_is_refused() {
    run_all(&reserved());
}

#[test]
fn messages_may_come_in_pieces() {
    run_all(&pieces());
}

#[test]
fn texts_are_refused() {
    run_all(&texts());
}

#[test]
fn an_end_is_said_back_or_refused() {
    run_all(&ends());
}

#[test]
fn messages_have_limits_in_one_piece_and_in_many() {
    run_all(&limits());
}

#[test]
fn bytes_may_come_one_by_one() {
    let node = Node::start();
    for case in pings().iter().chain(&pieces()).filter(|case| case.say.len() < 20) {
        let stream = Stream::Plain(client::connect(node.web()));
        if case.hear.iter().all(|heard| matches!(heard, Answer(_) | Heartbeat | Hear::Pong(_)))
            && case.name != "a large message in pieces"
        {
            run(case, stream, |web, bytes| bytes.chunks(1).for_each(|byte| web.say_raw(byte)));
        }
    }
    node.settle();
}
