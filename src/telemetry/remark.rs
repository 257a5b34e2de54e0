//! Warnings of a reading that is nevertheless sent.

/// A kind of remark. `Remark as usize` is its place in [`Remark::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Remark {
    /// `null` beside other values.
    NullValue,
    /// `"007"`: ThingsBoard casts what looks like a number.
    TextBecomesNumber,
    /// `1e400`, or more than 15 digits after the point.
    NumberBecomesText,
    /// The same key twice in one object.
    RepeatedKey,
    /// `\u0000` in a text.
    NulInText,
    /// `\ud83d` without its other half in a text.
    HalfSurrogate,
    /// `ts` below 10^11.
    TimeInSeconds,
    /// `"ts":"1700000000000"`.
    TimeIsText,
    /// `"ts":1700000000000.5` or `"ts":1.7e12`.
    TimeIsNoInteger,
    /// `{"values":{…}}`.
    ValuesWithoutTime,
    /// The same, sent as it is.
    ValuesAsValue,
    /// Members beside `ts` and `values`.
    MoreBesideValues,
}

impl Remark {
    /// Every kind, in its order.
    pub(super) const ALL: [Self; 12] = [
        Self::NullValue,
        Self::TextBecomesNumber,
        Self::NumberBecomesText,
        Self::RepeatedKey,
        Self::NulInText,
        Self::HalfSurrogate,
        Self::TimeInSeconds,
        Self::TimeIsText,
        Self::TimeIsNoInteger,
        Self::ValuesWithoutTime,
        Self::ValuesAsValue,
        Self::MoreBesideValues,
    ];

    /// A clause that follows "line 4 of FILE: ".
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::NullValue => "a value is null, and ThingsBoard does not store it",
            Self::TextBecomesNumber => {
                r#"a text looks like a number, and ThingsBoard stores it as one ("007" as 7)"#
            }
            Self::NumberBecomesText => {
                "a number is too large or too fine for 64 bits, and ThingsBoard stores it as text"
            }
            Self::RepeatedKey => "a key is there twice, and ThingsBoard stores the last value only",
            Self::NulInText => "a text has a NUL character, and ThingsBoard drops it",
            Self::HalfSurrogate => "a text has half of a surrogate pair, and ThingsBoard stores '?' for it",
            Self::TimeInSeconds => {
                "'ts' looks like seconds; ThingsBoard takes it for milliseconds, and stores the reading at about 1970"
            }
            Self::TimeIsText => "'ts' is text, and ThingsBoard takes it for a number",
            Self::TimeIsNoInteger => {
                "'ts' has a fraction or an exponent, and ThingsBoard stores whole milliseconds"
            }
            Self::ValuesWithoutTime => {
                "'values' has no 'ts' beside it, and is taken for values without a time of their own"
            }
            Self::ValuesAsValue => {
                "'values' has no 'ts' beside it, and ThingsBoard stores it as one value of that name"
            }
            Self::MoreBesideValues => "there is more than 'ts' and 'values', and ThingsBoard drops it",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of kinds of remark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Remarks(u16);

impl Remarks {
    /// Adds a kind.
    pub(super) const fn add(&mut self, remark: Remark) {
        self.0 |= remark.bit();
    }

    /// Adds all of `others`.
    pub(super) const fn add_all(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// The same for a reading that is sent as it is.
    pub(super) const fn as_is(mut self) -> Self {
        if self.has(Remark::ValuesWithoutTime) {
            self.0 ^= Remark::ValuesWithoutTime.bit() | Remark::ValuesAsValue.bit();
        }
        self
    }

    /// Whether a kind was added.
    pub(super) const fn has(self, remark: Remark) -> bool {
        self.0 & remark.bit() != 0
    }

    /// The kinds that were added, in the order of [`Remark::ALL`].
    pub(super) fn iter(self) -> impl Iterator<Item = Remark> {
        Remark::ALL.into_iter().filter(move |remark| self.has(*remark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_kept_once_and_in_order() {
        assert!(Remark::ALL.is_sorted());
        let mut remarks = Remarks::default();
        assert!(!remarks.has(Remark::NullValue));
        for remark in Remark::ALL.into_iter().rev().chain(Remark::ALL) {
            remarks.add(remark);
        }
        assert!(remarks.iter().eq(Remark::ALL));
        for (place, remark) in Remark::ALL.into_iter().enumerate() {
            assert_eq!(remark as usize, place);
            assert!(!remark.text().ends_with('.'));
        }
    }
}
