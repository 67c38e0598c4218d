//! Anchors as directories write them, both ways: objectGUID, entryUUID, nsUniqueId, and any other attribute.

use uuid::Uuid;

use crate::identity::Anchor;

/// How the anchor attribute keeps its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnchorForm {
    /// 16 bytes, the first three fields little-endian (objectGUID).
    MixedEndian,
    /// RFC 9562 text (entryUUID).
    Text,
    /// Four groups of eight hexadecimal digits (nsUniqueId).
    FourGroups,
    /// Whatever an administrator named: the text itself.
    Any,
}

impl AnchorForm {
    /// The form that an attribute of this name has.
    pub(super) fn of_attribute(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "objectguid" => Self::MixedEndian,
            "entryuuid" => Self::Text,
            "nsuniqueid" => Self::FourGroups,
            _ => Self::Any,
        }
    }

    /// Reads the attribute's value; `None` when it does not have this form.
    pub(super) fn decode(self, value: &[u8]) -> Option<Anchor> {
        let text = || std::str::from_utf8(value).ok();
        match self {
            Self::MixedEndian => {
                let bytes = value.try_into().ok()?;
                Some(Anchor::Uuid(Uuid::from_bytes_le(bytes)))
            }
            Self::Text => Uuid::try_parse(text()?).ok().map(Anchor::Uuid),
            Self::FourGroups => {
                let mut groups = text()?.split('-');
                let digits: String = groups.by_ref().take(4).collect();
                let whole = groups.next().is_none() && digits.len() == 32;
                whole
                    .then(|| Uuid::try_parse(&digits).ok())?
                    .map(Anchor::Uuid)
            }
            Self::Any => text()
                .filter(|text| !text.is_empty())
                .map(|text| Anchor::Text(text.to_owned())),
        }
    }

    /// The value by which the directory finds the anchor; `None` when it cannot have this form.
    pub(super) fn encode(self, anchor: &Anchor) -> Option<Vec<u8>> {
        match (self, anchor) {
            (Self::MixedEndian, Anchor::Uuid(uuid)) => Some(uuid.to_bytes_le().to_vec()),
            (Self::Text, Anchor::Uuid(uuid)) => Some(uuid.to_string().into_bytes()),
            (Self::FourGroups, Anchor::Uuid(uuid)) => {
                let digits = uuid.simple().to_string();
                let groups = [&digits[..8], &digits[8..16], &digits[16..24], &digits[24..]];
                Some(groups.join("-").into_bytes())
            }
            (Self::Any, Anchor::Text(text)) => Some(text.clone().into_bytes()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_seen_on_real_servers_are_read() {
        let bytes = 0x40d8_a4fc_d820_0340_b789_6c7e_31b0_4aa4_u128.to_be_bytes();
        let guid = AnchorForm::of_attribute("ObjectGUID")
            .decode(&bytes)
            .unwrap();
        assert_eq!(guid.to_string(), "fca4d840-20d8-4003-b789-6c7e31b04aa4");
        let unique = AnchorForm::of_attribute("nsUniqueId")
            .decode(b"3763fe83-e54511f1-8f84ace6-18719af2")
            .unwrap();
        assert_eq!(unique.to_string(), "3763fe83-e545-11f1-8f84-ace618719af2");
        let other = AnchorForm::of_attribute("employeeNumber").decode(b"0042");
        assert_eq!(other, Some(Anchor::Text("0042".into())));
    }

    #[test]
    fn values_of_another_form_are_refused() {
        assert_eq!(AnchorForm::MixedEndian.decode(b"short"), None);
        assert_eq!(AnchorForm::Text.decode(b"\xff"), None);
        assert_eq!(AnchorForm::FourGroups.decode(b"3763fe83-e54511f1"), None);
        assert_eq!(
            AnchorForm::FourGroups.decode(b"3763fe83-e54511f1-8f84ace6-18719af2-0"),
            None
        );
        assert_eq!(AnchorForm::Any.decode(b""), None);
        assert_eq!(AnchorForm::Text.encode(&Anchor::Text("x".into())), None);
    }

    proptest! {
        #[test]
        fn every_anchor_reads_back(bytes in any::<u128>(), text in ".{1,20}") {
            let uuid = Anchor::Uuid(Uuid::from_u128(bytes));
            for form in [AnchorForm::MixedEndian, AnchorForm::Text, AnchorForm::FourGroups] {
                prop_assert_eq!(form.decode(&form.encode(&uuid).unwrap()), Some(uuid.clone()));
            }
            let text = Anchor::Text(text);
            prop_assert_eq!(AnchorForm::Any.decode(&AnchorForm::Any.encode(&text).unwrap()), Some(text));
        }
    }
}
