//! A manifest's text as objects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base::order;
use crate::base::order::InOrder as _;
use crate::base::yaml::read;
use crate::kube::fields::{Field, Result};
use crate::kube::read_pod::pod;
use crate::kube::types::{Claim, ConfigMap, Data, Meta, Object, Secret};

/// The objects of a manifest: volumes first, then what containers refer to, then pods, each kind in its order.
/// Objects of other kinds are left out, as with podman.
///
/// # Errors
///
/// Text that is no YAML; what an object cannot be made from, with its place in file 0.
pub(crate) fn objects(text: &str) -> Result<Vec<Object>> {
    let mut found = Vec::new();
    for document in read::documents(text, 0)? {
        let field = Field::document(&document);
        if let Some(object) = field.object()? {
            add(&object, &mut found)?;
        }
    }
    found.order_by_key(|object| match object {
        Object::Claim(_) => 0,
        Object::ConfigMap(_) => 1,
        Object::Secret(_) => 2,
        Object::Pod(_) => 3,
    });
    Ok(found)
}

fn add(object: &Field<'_>, found: &mut Vec<Object>) -> Result<()> {
    let kind = object.get("kind").string()?;
    match kind.as_str() {
        "List" => {
            for item in object.get("items").items()? {
                if let Some(item) = item.object()? {
                    add(&item, found)?;
                }
            }
        }
        "PersistentVolumeClaim" => {
            found.push(Object::Claim(Claim { meta: named(object, "persistent volume claim")? }));
        }
        "ConfigMap" => found.push(Object::ConfigMap(config_map(object)?)),
        "Secret" => found.push(Object::Secret(secret(object)?)),
        "Pod" => found.push(Object::Pod(Box::new(pod(named(object, "pod")?, &object.get("spec"))?))),
        "Deployment" | "DaemonSet" | "Job" => {
            let template = object.get("spec").get("template");
            let own = named(object, &kind.to_lowercase())?;
            let mut meta = meta(&template)?;
            meta.name = format!("{}-pod", own.name);
            meta.namespace = meta.namespace.or(own.namespace);
            let mut pod = pod(meta, &template.get("spec"))?;
            pod.replicas = object.get("spec").get("replicas").int()?.unwrap_or(1);
            found.push(Object::Pod(Box::new(pod)));
        }
        _ => {}
    }
    Ok(())
}

fn meta(object: &Field<'_>) -> Result<Meta> {
    let meta = object.get("metadata");
    Ok(Meta {
        name: meta.get("name").string()?,
        namespace: meta.get("namespace").text()?,
        labels: meta.get("labels").text_map()?,
        annotations: meta.get("annotations").text_map()?,
    })
}

/// The metadata of an object that must have a name.
fn named(object: &Field<'_>, what: &str) -> Result<Meta> {
    let meta = meta(object)?;
    match meta.name.is_empty() {
        true => Err(object.fault(format_args!("{what} does not have a name"))),
        false => Ok(meta),
    }
}

fn plain(field: &Field<'_>) -> Result<Data> {
    let entries = field.text_map()?.into_iter();
    Ok(order::map(entries.map(|(key, value)| (key, value.into_bytes()))))
}

fn decoded(field: &Field<'_>) -> Result<Data> {
    let entries = field.entries()?.into_iter().map(|(key, field)| {
        // Folded and wrapped text is as good.
        let text: String = field.string()?.split_ascii_whitespace().collect();
        let bytes = STANDARD.decode(text).map_err(|err| field.fault(format_args!("is no base64: {err}")))?;
        Ok((key.to_owned(), bytes))
    });
    order::try_map(entries)
}

fn config_map(object: &Field<'_>) -> Result<ConfigMap> {
    let mut data = decoded(&object.get("binaryData"))?;
    data.extend(plain(&object.get("data"))?);
    Ok(ConfigMap { name: named(object, "configmap")?.name, data })
}

fn secret(object: &Field<'_>) -> Result<Secret> {
    let mut data = decoded(&object.get("data"))?;
    data.extend(plain(&object.get("stringData"))?);
    Ok(Secret { name: named(object, "secret")?.name, data })
}

/// The data of a Secret that somebody has stored whole, as `kube play` does; `None` if the text is none.
pub(crate) fn stored_secret(text: &str) -> Option<Data> {
    objects(text).ok()?.into_iter().find_map(|object| match object {
        Object::Secret(secret) => Some(secret.data),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_in_the_order_in_which_they_are_needed() {
        let text = "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3, template: {metadata: {labels: {a: b}}, spec: {}}}\n\
            ---\nkind: Service\nmetadata: {name: s}\n---\nkind: Secret\nmetadata: {name: s}\ndata: {a: Yg==}\nstringData: {c: d}\n\
            ---\n---\nkind: ConfigMap\nmetadata: {name: c}\ndata: {n: 5}\nbinaryData: {b: Yg==}\n---\nkind: PersistentVolumeClaim\nmetadata: {name: v}\n\
            ---\nkind: List\nitems: [{kind: Pod, metadata: {name: p}}]\n";
        let found = objects(text).unwrap();
        let [
            Object::Claim(claim),
            Object::ConfigMap(map),
            Object::Secret(secret),
            Object::Pod(web),
            Object::Pod(pod),
        ] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!(claim.meta.name, "v");
        assert_eq!(map.data, Data::from([("n".to_owned(), b"5".to_vec()), ("b".to_owned(), b"b".to_vec())]));
        assert_eq!(
            secret.data,
            Data::from([("a".to_owned(), b"b".to_vec()), ("c".to_owned(), b"d".to_vec())])
        );
        assert_eq!(
            (web.meta.name.as_str(), web.replicas, web.meta.labels["a"].as_str()),
            ("web-pod", 3, "b")
        );
        assert_eq!(pod.meta.name, "p");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, message) in [
            ("kind: Pod\nmetadata: {}\n", "pod does not have a name"),
            ("kind: Secret\nmetadata: {name: a}\ndata: {x: b}\n", "data.x: is no base64: "),
            ("kind: ConfigMap\nmetadata: {name: a}\ndata: [x]\n", "data: must be a mapping, not a list"),
            ("- a\n", "must be a mapping, not a list"),
        ] {
            let fault = objects(text).unwrap_err();
            assert!(fault.message.starts_with(message), "{text}: {}", fault.message);
        }
    }
}
