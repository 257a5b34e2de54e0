//! The pattern by which the certificate chain strategy takes a device's name out of a common name.

use fancy_regex::Regex;

/// `certificateRegExPattern` of a device profile. As in ThingsBoard, any text is one; what is no regular expression
/// refuses every device.
#[derive(Debug, Clone)]
pub struct NamePattern {
    text: String,
    pattern: Result<Regex, String>,
}

impl NamePattern {
    /// The pattern with this text.
    ///
    /// It is matched by `fancy-regex`, whose syntax is Java's in what names need: groups, classes, look-around,
    /// back-references, possessive quantifiers. Not there: `\Q…\E`, `\p{…}` of Unicode. `\w`, `\d` and `\s` mean
    /// those of every script, where Java means ASCII.
    pub fn new(text: &str) -> Self {
        let pattern = Regex::new(text).map_err(|error| format!("the name pattern cannot be used: {error}"));
        Self { text: text.to_owned(), pattern }
    }

    /// The pattern as it was given.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Why no device will ever get its name by this pattern.
    pub fn problem(&self) -> Option<&str> {
        match &self.pattern {
            Ok(pattern) if pattern.captures_len() < 2 => Some(NO_GROUP),
            Ok(_) => None,
            Err(why) => Some(why),
        }
    }

    /// Group 1 where the pattern is first found; nothing when the group is empty or took no part
    /// (`DeviceProvisionServiceImpl.extractDeviceNameFromCNByRegEx`).
    pub(super) fn name_in(&self, common_name: &str) -> Result<Option<String>, String> {
        let pattern = self.pattern.as_ref().map_err(Clone::clone)?;
        let found =
            pattern.captures(common_name).map_err(|error| format!("the name pattern fails: {error}"))?;
        let found =
            found.ok_or_else(|| format!("the name pattern is not in the common name '{common_name}'"))?;
        if found.len() < 2 {
            return Err(NO_GROUP.to_owned());
        }
        Ok(found.get(1).map(|name| name.as_str().to_owned()).filter(|name| !name.is_empty()))
    }
}

const NO_GROUP: &str = "the name pattern has no group";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(pattern: &str, common_name: &str) -> Result<Option<String>, String> {
        NamePattern::new(pattern).name_in(common_name)
    }

    #[test]
    fn the_name_is_the_first_group_of_what_is_found() {
        let named = |pattern, common_name| name(pattern, common_name).unwrap().unwrap();
        assert_eq!(named("(.*)", "a"), "a");
        assert_eq!(named(r"(\w+)\.example", "x sensor.example.com"), "sensor");
        assert_eq!(named("(?=dev)(.*)", "my dev-1"), "dev-1");
        assert_eq!(named(r"(?<!x)(\d++)(?:-)\1", "7-7"), "7");
        assert_eq!(named("(?i)DEV-(?<n>.*)", "dev-é"), "é");
    }

    #[test]
    fn an_empty_group_is_no_name() {
        assert_eq!(name("(a)|b.*", "b1"), Ok(None));
        assert_eq!(name("(.*)", ""), Ok(None));
    }

    #[test]
    fn what_can_never_name_a_device_says_so() {
        for (pattern, problem) in [("(", "cannot be used"), (".*", "no group")] {
            assert!(NamePattern::new(pattern).problem().unwrap().contains(problem));
            assert!(name(pattern, "a").unwrap_err().contains(problem));
        }
        assert_eq!(NamePattern::new("(a)").problem(), None);
        assert!(name("(a)", "b").unwrap_err().contains("'b'"));
    }
}
