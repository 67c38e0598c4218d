//! The filters that look-ups send: equality of one attribute (RFC 7644 §3.4.2.2).

/// `attribute eq "value"`, the value quoted as JSON.
pub fn eq(attribute: &str, value: &str) -> String {
    format!("{attribute} eq {}", serde_json::Value::from(value))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_value_cannot_close_the_filter() {
        let filter = super::eq("userName", r#"a" or id pr or userName eq "\"#);
        assert_eq!(filter, r#"userName eq "a\" or id pr or userName eq \"\\""#);
        assert!(filter.parse::<scim_v2::filter::Filter>().is_ok());
    }
}
