//! A drawing of lines over two axes, as SVG.

use std::fmt::Write;

use crate::report::html::markup::Markup;
use crate::report::html::scale::Scale;
use crate::report::quantity::Unit;

// The drawing and its margins for the labels.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 24.0;

/// The least width of a band.
const BAND_MIN: f64 = 1.5;

/// Colours by their classes in the style, which differ in brightness as well, so that paper and the
/// colour-blind can tell them apart; with more lines they come again.
const COLOURS: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

/// The first pair is drawn through, the next ones are dashed: lines that lie upon each other are
/// both seen.
const DASHES: [&str; 3] = ["none", "6 5", "2 4"];

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Division {
    Linear,
    Logarithmic,
}

#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) across: (Division, Unit),
    pub(super) up: (Division, Unit),
    pub(super) lines: Vec<Line>,
    /// The area below the lines is filled.
    pub(super) filled: bool,
    /// Behind the lines.
    pub(super) bands: Vec<Band>,
}

/// A part of the axis across that stands out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) to: f64,
    /// Its class in the style.
    pub(super) class: &'static str,
}

/// A line, interrupted where a value is not finite.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

impl Plot {
    /// Draws it; nothing if it has no points.
    pub(super) fn draw(&self, page: &mut Markup) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        if !points().any(|&(x, y)| x.is_finite() && y.is_finite()) {
            return;
        }
        let across =
            scale(self.across, points().map(|point| point.0), (LEFT, WIDTH - RIGHT), false);
        let up = scale(self.up, points().map(|point| point.1), (HEIGHT - BOTTOM, TOP), true);
        page.element("figure", &[], |page| {
            page.leaf("figcaption", &self.title);
            self.legend(page);
            let view = format!("0 0 {WIDTH} {HEIGHT}");
            let attributes = [
                ("xmlns", "http://www.w3.org/2000/svg"),
                ("viewBox", view.as_str()),
                ("role", "img"),
                ("font-family", "system-ui,sans-serif"),
                ("font-size", "11.5"),
            ];
            page.element("svg", &attributes, |page| {
                page.leaf("title", &self.title);
                self.bands.iter().for_each(|band| band.draw(page, &across));
                marks_up(page, &up, self.up.1);
                marks_across(page, &across, self.across.1);
                for (number, line) in self.lines.iter().enumerate() {
                    let pen = Pen { colour: colour(number), dash: dash(number) };
                    line.draw(page, pen, (&across, &up), self.filled);
                }
            });
        });
    }

    fn legend(&self, page: &mut Markup) {
        if self.lines.len() < 2 {
            return;
        }
        page.element("p", &[("class", "legend")], |page| {
            for (number, line) in self.lines.iter().enumerate() {
                page.element("span", &[], |page| {
                    let class = format!("key {}", colour(number));
                    page.element("b", &[("class", &class)], |page| page.text("\u{25a0} "));
                    page.text(&line.name);
                });
                page.text(" ");
            }
        });
    }
}

impl Line {
    fn draw(&self, page: &mut Markup, pen: Pen, scales: (&Scale, &Scale), filled: bool) {
        let class = |of: &str| format!("{of} {}", pen.colour);
        let place = |&(x, y): &(f64, f64)| Some((scales.0.place(x)?, scales.1.place(y)?));
        let places: Vec<_> = self.points.iter().map(place).collect();
        for piece in places.split(Option::is_none) {
            let piece: Vec<_> = piece.iter().copied().flatten().collect();
            match piece.as_slice() {
                [] => {}
                [(x, y)] => {
                    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
                    let dot =
                        [("cx", x.as_str()), ("cy", &y), ("r", "2.5"), ("class", &class("dot"))];
                    page.empty("circle", &dot);
                }
                [first, .., last] => {
                    let path = path(&piece);
                    if filled {
                        let floor = HEIGHT - BOTTOM;
                        let area = format!("{path}L{:.1} {floor}L{:.1} {floor}Z", last.0, first.0);
                        page.empty("path", &[("d", area.as_str()), ("class", &class("area"))]);
                    }
                    let class = class("line");
                    let line =
                        [("d", path.as_str()), ("class", &class), ("stroke-dasharray", pen.dash)];
                    page.empty("path", &line);
                }
            }
        }
    }
}

impl Band {
    fn draw(&self, page: &mut Markup, across: &Scale) {
        let (Some(from), Some(to)) = (across.place(self.from), across.place(self.to)) else {
            return;
        };
        let (from, to) = (from.max(LEFT), to.min(WIDTH - RIGHT));
        // A storm may be over in less than a point.
        let (x, width) = (format!("{from:.1}"), format!("{:.1}", (to - from).max(BAND_MIN)));
        let (y, height) = (TOP.to_string(), (HEIGHT - BOTTOM - TOP).to_string());
        let place = [("x", x.as_str()), ("y", &y), ("width", &width), ("height", &height)];
        page.empty("rect", &[&place[..], &[("class", self.class)]].concat());
    }
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy)]
struct Pen {
    colour: &'static str,
    dash: &'static str,
}

fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

fn dash(number: usize) -> &'static str {
    DASHES[number / 2 % DASHES.len()]
}

fn scale(
    (division, unit): (Division, Unit),
    values: impl Iterator<Item = f64>,
    places: (f64, f64),
    is_up: bool,
) -> Scale {
    let is_whole = matches!(unit, Unit::Nines | Unit::Whole);
    let step_min = if is_whole { 1.0 } else { 0.0 };
    match division {
        Division::Linear => Scale::linear(values, is_up, step_min, places),
        Division::Logarithmic => Scale::logarithmic(values, places),
    }
}

fn path(places: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (number, (x, y)) in places.iter().enumerate() {
        let pen = if number == 0 { 'M' } else { 'L' };
        write!(path, "{pen}{x:.1} {y:.1}").expect("a string takes everything");
    }
    path
}

fn marks_up(page: &mut Markup, scale: &Scale, unit: Unit) {
    for &mark in &scale.marks {
        let Some(place) = scale.place(mark) else {
            continue;
        };
        let y = format!("{place:.1}");
        let (left, right) = (LEFT.to_string(), (WIDTH - RIGHT).to_string());
        let grid = [("x1", left.as_str()), ("x2", right.as_str()), ("y1", &y), ("y2", &y)];
        page.empty("line", &[&grid[..], &[("class", "grid")]].concat());
        label(page, (LEFT - 6.0, place + 4.0), "end", &unit.format(mark));
    }
}

fn marks_across(page: &mut Markup, scale: &Scale, unit: Unit) {
    for &mark in &scale.marks {
        let Some(place) = scale.place(mark) else {
            continue;
        };
        let (x, top, foot) = (format!("{place:.1}"), TOP.to_string(), HEIGHT - BOTTOM + 4.0);
        let foot = foot.to_string();
        let grid = [("x1", x.as_str()), ("x2", &x), ("y1", &top), ("y2", &foot)];
        page.empty("line", &[&grid[..], &[("class", "grid")]].concat());
        label(page, (place, HEIGHT - 6.0), "middle", &unit.format(mark));
    }
}

fn label(page: &mut Markup, (x, y): (f64, f64), anchor: &str, text: &str) {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    let attributes = [("x", x.as_str()), ("y", &y), ("text-anchor", anchor), ("class", "label")];
    page.element("text", &attributes, |page| page.text(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: &[(f64, f64)], division: Division) -> String {
        let mut page = Markup::default();
        let line = |name: &str| Line { name: name.to_owned(), points: points.to_vec() };
        let plot = Plot {
            title: "latency".to_owned(),
            across: (Division::Linear, Unit::Seconds),
            up: (division, Unit::Microseconds),
            lines: vec![line("p50"), line("p99")],
            filled: true,
            bands: vec![Band { from: 1.0, to: 2.0, class: "storm" }],
        };
        plot.draw(&mut page);
        page.finish()
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(drawn(&[], Division::Linear), "");
        assert_eq!(drawn(&[(1.0, f64::NAN)], Division::Logarithmic), "");
    }

    #[test]
    fn one_value_is_a_dot_and_a_gap_interrupts_the_line() {
        for division in [Division::Linear, Division::Logarithmic] {
            let one = drawn(&[(1.0, 5.0)], division);
            assert_eq!((one.matches("<circle").count(), one.matches("<path").count()), (2, 0));
            let points = [(1.0, 5.0), (2.0, 7.0), (3.0, f64::NAN), (4.0, 1.0), (5.0, 2.0)];
            let two = drawn(&points, division);
            // Two lines of two pieces, each with its area.
            assert_eq!((two.matches("<circle").count(), two.matches("<path").count()), (0, 8));
            assert!(!one.contains("NaN") && !two.contains("NaN"));
        }
    }
}
