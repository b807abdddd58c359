//! Volumes of the store that hold the files of ConfigMaps and Secrets.

use crate::kube::types::{Files, Pod, Volume, VolumeSource};

/// The label that says what the files of a volume are of. What has it not is the user's.
pub(crate) const LABEL: &str = "io.ketch.kube.files";

/// What a volume has its files of, if it is of a ConfigMap or a Secret.
fn of(source: &VolumeSource) -> Option<(&'static str, &Files)> {
    match source {
        VolumeSource::ConfigMap(files) => Some(("ConfigMap", files)),
        VolumeSource::Secret(files) => Some(("Secret", files)),
        _ => None,
    }
}

/// The value of [`LABEL`].
pub(super) fn origin(source: &VolumeSource) -> Option<String> {
    of(source).map(|(kind, files)| format!("{kind}/{}", files.name))
}

/// The name of the volume of the store: as with podman that of the ConfigMap or Secret, but where an earlier volume of
/// the manifest has other files under it. `earlier` are the pods before this one.
pub(super) fn stored_name(earlier: &[&Pod], pod: &Pod, volume: &Volume, files: &Files) -> String {
    let has_name = |other: &&Volume| of(&other.source).is_some_and(|(_, of)| of.name == files.name);
    let before = earlier.iter().find_map(|pod| pod.volumes.iter().find(has_name));
    let first = before.or_else(|| pod.volumes.iter().find(has_name));
    match (first, before) {
        (Some(first), _) if first.source == volume.source => files.name.clone(),
        (Some(_), None) => format!("{}-{}", files.name, volume.name),
        (Some(_), Some(_)) => format!("{}-{}-{}", files.name, pod.meta.name, volume.name),
        (None, _) => files.name.clone(),
    }
}

/// The names of all such volumes of a pod.
pub(super) fn stored_names(earlier: &[&Pod], pod: &Pod) -> impl Iterator<Item = String> {
    pod.volumes.iter().filter_map(move |volume| {
        of(&volume.source).map(|(_, files)| stored_name(earlier, pod, volume, files))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::plan::tests::pod;

    #[test]
    fn different_files_have_different_volumes() {
        let pod = pod(
            "metadata: {name: p}\nspec: {containers: [{name: c}], volumes: [{name: a, configMap: {name: x}}, {name: b, secret: {secretName: x}}, \
            {name: c, configMap: {name: x}}, {name: d, configMap: {name: x, items: [{key: k, path: p}]}}, {name: e, secret: {secretName: y}}]}\n",
        );
        assert_eq!(stored_names(&[], &pod).collect::<Vec<_>>(), ["x", "x-b", "x", "x-d", "y"]);
        let mut other = pod.clone();
        other.meta.name = "q".to_owned();
        other.volumes.reverse();
        assert_eq!(stored_names(&[&pod], &other).collect::<Vec<_>>(), ["y", "x-q-d", "x", "x-q-b", "x"]);
        assert_eq!(origin(&pod.volumes[1].source).as_deref(), Some("Secret/x"));
    }
}
