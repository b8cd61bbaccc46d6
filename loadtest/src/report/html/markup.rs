//! Elements that are closed where they are opened, and text that stays text.

/// A page in the making. It is well-formed XML as well as HTML.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// An element with what is written inside.
    pub(super) fn element(
        &mut self,
        tag: &str,
        attributes: &[(&str, &str)],
        inside: impl FnOnce(&mut Markup),
    ) {
        self.open(tag, attributes);
        self.0.push('>');
        inside(self);
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push('>');
    }

    /// An element with nothing inside.
    pub(super) fn empty(&mut self, tag: &str, attributes: &[(&str, &str)]) {
        self.open(tag, attributes);
        self.0.push_str("/>");
    }

    /// An element with text inside.
    pub(super) fn leaf(&mut self, tag: &str, text: &str) {
        self.element(tag, &[], |inside| inside.text(text));
    }

    /// Text, whatever it says.
    pub(super) fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Allowed in neither HTML nor XML, not even as a reference.
                control if control.is_control() && !control.is_whitespace() => {
                    self.0.push(char::REPLACEMENT_CHARACTER);
                }
                other => self.0.push(other),
            }
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    fn open(&mut self, tag: &str, attributes: &[(&str, &str)]) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            self.text(value);
            self.0.push('"');
        }
    }
}

/// What is wrong with a page, if anything: a tag that is not closed where it should be, or a stray
/// character.
#[cfg(test)]
pub(super) fn fault(page: &str) -> Option<String> {
    let Some(mut rest) = page.strip_prefix("<!DOCTYPE html>\n") else {
        return Some("no doctype".to_owned());
    };
    let mut open: Vec<&str> = Vec::new();
    while let Some((text, after)) = rest.split_once('<') {
        if text.contains('>') {
            return Some(format!("a stray > in {text:?}"));
        }
        let Some((tag, after)) = after.split_once('>') else {
            return Some(format!("no end of {after:?}"));
        };
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(opened) if opened == name => {}
                opened => return Some(format!("{opened:?} is closed by {name:?}")),
            }
        } else if tag.matches('"').count() % 2 == 1 {
            return Some(format!("an attribute without end in {tag:?}"));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next()?);
        }
        rest = after;
    }
    (!open.is_empty() || rest.contains('>'))
        .then(|| format!("{open:?} are not closed before {rest:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_can_say_anything() {
        let mut page = Markup::default();
        page.element("p", &[("title", "\"><i>")], |page| page.text("<b>&'\u{1b}\n"));
        let html = page.finish();
        assert_eq!(html, "<p title=\"&quot;&gt;&lt;i&gt;\">&lt;b&gt;&amp;&#39;\u{fffd}\n</p>");
    }

    #[test]
    fn the_checker_finds_what_is_not_closed() {
        let fault = |body: &str| fault(&format!("<!DOCTYPE html>\n{body}"));
        assert_eq!(fault("<p a=\"1\"><br/>x</p>"), None);
        for wrong in ["<p>", "</p>", "<p><b></p></b>", "a > b", "<p", "<p a=\"></p>"] {
            assert!(fault(wrong).is_some(), "{wrong}");
        }
    }
}
