//! Whose pages may come in.

/// The pages that may use this server, by their origin: scheme, host, and port if it is not the usual one.
///
/// No page can do anything here in the name of somebody who does not want it: a login is a frame that the page
/// has to send, and not a cookie that the browser adds. So a list is a fence for those who want one, and without
/// it every page may come. What is no browser says no origin, or any that it likes, so its absence is let pass.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Origins(Vec<String>);

impl Origins {
    /// Of these; all if there is none.
    pub(crate) fn new(allowed: &[String]) -> Origins {
        Origins(allowed.iter().map(|origin| origin.to_ascii_lowercase()).collect())
    }

    /// Whether a page of this origin may come in.
    pub(super) fn allow(&self, origin: Option<&[u8]>) -> bool {
        let Some(origin) = origin.filter(|_| !self.0.is_empty()) else { return true };
        self.0.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
    }

    /// Whether a text is an origin as a browser would say it.
    pub(crate) fn is_origin(text: &str) -> bool {
        let Some((scheme, host)) = text.split_once("://") else { return text == "null" };
        let is_host = !host.is_empty() && host.chars().all(|it| it.is_ascii_graphic());
        let is_scheme = scheme.chars().all(|it| it.is_ascii_alphanumeric() || "+-.".contains(it));
        is_scheme && !scheme.is_empty() && is_host && !host.contains(['/', '?', '#', '@', '*', ','])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_list_everybody_may_come_and_with_one_its_pages() {
        let page = Some(&b"https://chat.example"[..]);
        assert!(Origins::default().allow(page) && Origins::default().allow(None));
        let listed = Origins::new(&["https://Chat.example".into(), "http://localhost:8080".into()]);
        assert!(listed.allow(page) && listed.allow(Some(b"http://localhost:8080")));
        assert!(listed.allow(None), "what is no browser");
        for other in
            ["https://chat.example:8443", "http://chat.example", "https://evil.example", "null"]
        {
            assert!(!listed.allow(Some(other.as_bytes())), "{other}");
        }
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        for good in ["https://chat.example", "http://[::1]:8080", "app://desktop", "null"] {
            assert!(Origins::is_origin(good), "{good}");
        }
        for bad in ["", "chat.example", "https://chat.example/", "https://*.example", "://x", "*"] {
            assert!(!Origins::is_origin(bad), "{bad}");
        }
    }
}
