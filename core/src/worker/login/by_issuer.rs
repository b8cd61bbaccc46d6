//! Logging in by the token of an issuer. A million users may do it at once: only the first login
//! of a user writes.

use dunlin_protocol::UserId;

use crate::attempt::Attempt;
use crate::auth::issuer::Issued;
use crate::request::Device;
use crate::store::Page;
use crate::transport::ConnId;
use crate::worker::flow::{self, PageFlow};
use crate::worker::login::LoginPage;
use crate::worker::login::asker::Asker;
use crate::worker::login::creation::{NAME_TAKEN, Origin};
use crate::worker::login::enter::{Enter, Proof};
use crate::worker::login::look_up::{self, Claim};
use crate::worker::login::operation::{Action, Operation};
use crate::worker::router::Router;
use crate::worker::turn::Turn;

/// A login by an issuer's token, which was verified.
#[derive(Debug)]
pub(crate) struct IssuerLogin {
    pub(in crate::worker) conn: ConnId,
    pub(in crate::worker) request_id: u64,
    pub(in crate::worker) attempt: Attempt,
    pub(in crate::worker) device: Device,
    pub(in crate::worker) issued: Issued,
}

impl IssuerLogin {
    pub(in crate::worker) fn asker(&self) -> Asker {
        Asker::Login { conn: self.conn, request_id: self.request_id }
    }
}

impl Router {
    pub(in crate::worker) fn read_issued_name(
        &mut self,
        login: Box<IssuerLogin>,
        turn: &mut Turn<'_>,
    ) {
        let request = look_up::read_name(&login.issued.username);
        turn.ask_page(request, PageFlow::Login(LoginPage::IssuerName(login)));
    }

    pub(in crate::worker) fn issued_name_read(
        &mut self,
        login: IssuerLogin,
        answer: flow::Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        match look_up::claim(&login.issued.username, answer) {
            Ok(Claim::Of { user, issuer }) if *issuer == *login.issued.issuer => {
                self.issued_user_found(login, user, turn);
            }
            // The name of a registered user, or of another issuer's: never merged.
            Ok(Claim::Of { .. } | Claim::Blocked) => {
                self.refuse_asker(login.asker(), NAME_TAKEN, turn);
            }
            Ok(Claim::Free) => {
                let Issued { issuer, username, display_name, .. } = login.issued.clone();
                let display_name = display_name.unwrap_or_else(|| username.clone());
                let origin = Origin::Issuer { issuer, login: Box::new(login) };
                self.create_account(username, display_name, origin, turn);
            }
            Err(refusal) => self.refuse_asker(login.asker(), refusal, turn),
        }
    }

    pub(in crate::worker) fn issued_user_found(
        &mut self,
        login: IssuerLogin,
        user: UserId,
        turn: &mut Turn<'_>,
    ) {
        let asker = login.asker();
        let IssuerLogin { conn, request_id, attempt, device, issued } = login;
        let proof = Proof::Issued { issued_ms: issued.issued_ms };
        let username = issued.username;
        let enter = Enter { conn, request_id, attempt, username, device, proof };
        self.operate(Operation { user, asker, action: Action::Enter(enter) }, turn);
    }
}
