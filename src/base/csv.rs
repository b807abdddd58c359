//! Fields between commas, as `--mount`, `RUN --mount` and `--output` write them.

/// Splits at commas, but for those within double quotes, as the CSV reader of the peers does. Empty fields
/// are left out.
pub(crate) fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().expect("there is always a last one").push(c),
        }
    }
    fields.retain(|field| !field.is_empty());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_quotes() {
        assert_eq!(fields("a,\"b,c\",,d"), ["a", "b,c", "d"]);
    }
}
