//! `ketch images --tree`: each image with the platforms that its name stands for, as docker shows them.

use crate::base::image_ref::NameRule;
use crate::base::platform::Platform;
use crate::base::size;
use crate::cli::format::table::Table;
use crate::cli::session::Session;
use crate::engine::image::{Image, Images};
use crate::engine::variants::Variant;

/// Prints the tree. `found` counts containers.
pub(super) fn print(session: &mut Session<'_>, found: &Images) -> anyhow::Result<()> {
    let mut table =
        Table::new(session, &["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"]).columns(0, 3);
    let rule = session.name_rule();
    for image in &found.items {
        let engine = session.engine()?;
        let variants = engine.variants(image, &found.items)?;
        let here = variants.iter().filter_map(|variant| variant.image.as_ref());
        let (unpacked, content) = match image.is_list {
            true => {
                let content = here.clone().try_fold(image.record.size_bytes, |sum, record| {
                    engine.content_bytes(record).map(|bytes| sum + bytes)
                });
                (here.map(|record| record.size_bytes).sum(), content?)
            }
            false => (image.record.size_bytes, engine.content_bytes(&image.record)?),
        };
        let extra = if image.containers.unwrap_or(0) > 0 { "U" } else { "" };
        let id = image.record.id.hex()[..12].to_owned();
        table.push([
            title(image, rule),
            id,
            size::human(unpacked, 4),
            size::human(content, 4),
            extra.to_owned(),
        ]);
        for further in image.names.iter().skip(1) {
            table.push([rule.shown(further)].into_iter().chain(std::iter::repeat_n(String::new(), 4)));
        }
        for (at, variant) in variants.iter().enumerate() {
            let branch = if at + 1 == variants.len() { "└─" } else { "├─" };
            let extra = users(variant, found);
            table.push(row(session, branch, variant, extra)?);
        }
    }
    table.print(session)
}

fn title(image: &Image, rule: NameRule) -> String {
    image.names.first().map_or_else(|| "<untagged>".to_owned(), |name| rule.shown(name))
}

/// One platform; what is not here takes no space.
fn row(
    session: &mut Session<'_>,
    branch: &str,
    variant: &Variant,
    extra: &str,
) -> anyhow::Result<[String; 5]> {
    let platform = variant.platform.as_ref().map_or_else(|| "unknown".to_owned(), Platform::to_string);
    let (id, unpacked, content) = match &variant.image {
        None => (variant.manifest.hex(), 0, 0),
        Some(record) => (record.id.hex(), record.size_bytes, session.engine()?.content_bytes(record)?),
    };
    let (unpacked, content) = (size::human(unpacked, 4), size::human(content, 4));
    Ok([format!("{branch} {platform}"), id[..12].to_owned(), unpacked, content, extra.to_owned()])
}

/// Whether containers use the image of a platform.
fn users(variant: &Variant, found: &Images) -> &'static str {
    let is_used = variant.image.as_ref().is_some_and(|record| {
        found.items.iter().any(|image| image.record.id == record.id && image.containers.unwrap_or(0) > 0)
    });
    if is_used { "U" } else { "" }
}
