//! `--attest`, `--provenance` and `--sbom`: what is to be said of an image beside it, in an index of both.

use clap::Args;

use crate::base::csv;
use crate::engine::build::provenance::Wished;
use crate::engine::{Error, Kind, Result};

/// Statements about the image.
#[derive(Args, Debug)]
#[command(next_help_heading = "Attestations")]
pub(crate) struct AttestFlags {
    /// A statement that goes with the image: type=provenance[,mode=max][,version=v1][,builder-id=ID], or type=…,disabled=true (can be repeated)
    #[arg(long, value_name = "ATTESTATION")]
    attest: Vec<String>,

    /// Say where the image comes from: true, false, mode=min, mode=max or more fields of --attest
    #[arg(long, value_name = "ATTESTATION", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,

    /// Bill of materials: ketch makes none (only `false` is taken)
    #[arg(long, value_name = "PRESET", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
}

impl AttestFlags {
    /// The provenance that is asked for, if it is.
    ///
    /// # Errors
    ///
    /// For fields that mean nothing; [`Kind::Unsupported`] for a bill of materials.
    pub(super) fn wished(&self) -> Result<Option<Wished>> {
        let mut wished = None;
        for text in &self.attest {
            let flag = format!("--attest {text:?}");
            let kind =
                csv::fields(text).iter().find_map(|field| field.strip_prefix("type=").map(str::to_owned));
            match kind.as_deref() {
                Some("provenance") => wished = provenance(&flag, text)?,
                Some("sbom") => bill(&flag, text)?,
                Some(other) => {
                    return Err(Error::invalid(format!("{flag}: unknown attestation type {other:?}")));
                }
                None => return Err(Error::invalid(format!("{flag}: attestation type not specified"))),
            }
        }
        if let Some(text) = &self.sbom {
            bill("--sbom", text)?;
        }
        if let Some(text) = &self.provenance {
            wished = provenance(&format!("--provenance={text}"), text)?;
        }
        Ok(wished)
    }
}

fn truth(flag: &str, value: &str) -> Result<bool> {
    match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(format!("{flag}: {value:?} is neither true nor false"))),
    }
}

/// Reads `--provenance`; `None` if there shall be none.
fn provenance(flag: &str, text: &str) -> Result<Option<Wished>> {
    let mut wished = Wished::default();
    for field in csv::fields(text) {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        match (key, value) {
            ("true" | "1" | "min", "") | ("mode", "min") | ("version", "v0.2") => {}
            ("false" | "0", "") => return Ok(None),
            ("disabled", value) => {
                if truth(flag, value)? {
                    return Ok(None);
                }
            }
            ("max", "") | ("mode", "max") => wished.max = true,
            ("version", "v1") => wished.is_v1 = true,
            ("builder-id", value) => value.clone_into(&mut wished.builder),
            ("reproducible", value) => wished.reproducible = truth(flag, value)?,
            ("type", "provenance") => {}
            _ => {
                return Err(Error::invalid(format!("{flag}: {field:?} is not known"))
                    .hint("known are mode=min|max, version=v0.2|v1, builder-id, reproducible and disabled"));
            }
        }
    }
    Ok(Some(wished))
}

/// Reads `--sbom`, of which only its absence is possible.
fn bill(flag: &str, text: &str) -> Result<()> {
    let disabled = |field: &String| matches!(field.as_str(), "false" | "0" | "disabled=true" | "disabled");
    if csv::fields(text).iter().any(disabled) {
        return Ok(());
    }
    let message = format!("{flag}: ketch makes no bills of materials: it looks for no packages in images");
    Err(Error::new(Kind::Unsupported, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wished(attest: &[&str], provenance: Option<&str>, sbom: Option<&str>) -> Result<Option<Wished>> {
        AttestFlags {
            attest: attest.iter().map(|text| (*text).to_owned()).collect(),
            provenance: provenance.map(str::to_owned),
            sbom: sbom.map(str::to_owned),
        }
        .wished()
    }

    #[test]
    fn what_is_wished() {
        let min = Some(Wished::default());
        let max = Some(Wished { max: true, ..Wished::default() });
        for (attest, provenance, sbom, want) in [
            (&[][..], None, None, None),
            (&[], Some("true"), Some("false"), min.clone()),
            (&[], Some("mode=max"), None, max.clone()),
            (&["type=provenance,mode=max", "type=sbom,disabled=true"], None, None, max.clone()),
            (&["type=provenance,mode=max"], Some("false"), None, None),
            (&["type=provenance,disabled=true"], None, None, None),
            (
                &["type=provenance,version=v1,builder-id=https://ci/7"],
                None,
                None,
                Some(Wished { is_v1: true, builder: "https://ci/7".to_owned(), ..Wished::default() }),
            ),
        ] {
            assert_eq!(
                super::tests::wished(attest, provenance, sbom).unwrap(),
                want,
                "{attest:?} {provenance:?}"
            );
        }
        for (attest, provenance, sbom) in [
            (&["type=sbom"][..], None, None),
            (&["mode=max"], None, None),
            (&["type=x"], None, None),
            (&[], Some("mode=some"), None),
            (&[], Some("perhaps"), None),
            (&[], None, Some("true")),
        ] {
            assert!(
                super::tests::wished(attest, provenance, sbom).is_err(),
                "{attest:?} {provenance:?} {sbom:?}"
            );
        }
    }
}
