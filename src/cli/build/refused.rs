//! Flags of `build` that other engines have and that cannot work here: each says why and fails; and those
//! whose only sensible value is what ketch does anyway.

use clap::Args;

use crate::cli::NAME;
use crate::cli::session::Session;
use crate::engine::{Error, Kind, Result};

/// Flags that cannot work.
#[derive(Args, Debug)]
#[command(next_help_heading = "Known, but refused with the reason")]
pub(crate) struct RefusedFlags {
    /// Builder: default, or a name that `buildx create` has made; all are this program
    #[arg(long, value_name = "NAME", env = "BUILDX_BUILDER", help_heading = None)]
    builder: Option<String>,

    /// Confidential workloads: ketch makes no disk images
    #[arg(long, value_name = "OPTIONS")]
    cw: Option<String>,

    /// Key for encrypted base images: ketch does not decrypt images
    #[arg(long, value_name = "KEY")]
    decryption_key: Vec<String>,

    /// Directory with hooks of a runtime: ketch uses no other runtime and runs no hooks
    #[arg(long, value_name = "DIRECTORY")]
    hooks_dir: Vec<String>,

    /// Label of intermediate images: ketch keeps steps, and no images of them
    #[arg(long, value_name = "KEY=VALUE")]
    layer_label: Vec<String>,

    /// Option for another runtime: ketch uses none
    #[arg(long, value_name = "FLAG")]
    runtime_flag: Vec<String>,

    /// Bill of materials in the image: as --sbom
    #[arg(long, value_name = "PATH")]
    sbom_image_output: Option<String>,

    /// List of packages in the image: as --sbom
    #[arg(long, value_name = "PATH")]
    sbom_image_purl_output: Option<String>,

    /// How bills of materials are merged: as --sbom
    #[arg(long, value_name = "STRATEGY")]
    sbom_merge_strategy: Option<String>,

    /// Bill of materials in a file: as --sbom
    #[arg(long, value_name = "FILE")]
    sbom_output: Option<String>,

    /// List of packages in a file: as --sbom
    #[arg(long, value_name = "FILE")]
    sbom_purl_output: Option<String>,

    /// What makes a bill of materials: as --sbom
    #[arg(long, value_name = "COMMAND")]
    sbom_scanner_command: Vec<String>,

    /// The image of what makes a bill of materials: as --sbom
    #[arg(long, value_name = "IMAGE")]
    sbom_scanner_image: Option<String>,

    /// Key to sign with: sign when pushing, with `push --sign-by`
    #[arg(long, value_name = "FINGERPRINT")]
    sign_by: Option<String>,

    /// ID map: the files of a build belong to the IDs of the default map
    #[arg(long, value_name = "MAP")]
    userns_gid_map: Vec<String>,

    /// ID map: as --userns-gid-map
    #[arg(long, value_name = "GROUP")]
    userns_gid_map_group: Option<String>,

    /// ID map: as --userns-gid-map
    #[arg(long, value_name = "MAP")]
    userns_uid_map: Vec<String>,

    /// ID map: as --userns-gid-map
    #[arg(long, value_name = "USER")]
    userns_uid_map_user: Option<String>,
}

impl RefusedFlags {
    /// The name of the builder.
    ///
    /// # Errors
    ///
    /// If nobody has made it.
    pub(super) fn builder(&self, session: &Session<'_>) -> Result<String> {
        let typed = self.builder.as_deref().filter(|name| *name != NAME);
        session.engine()?.builders().find(typed).map(str::to_owned)
    }

    /// Says which of the flags was used, and why it cannot work.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`], if any was.
    pub(super) fn refuse(&self) -> Result<()> {
        let materials = [
            &self.sbom_image_output,
            &self.sbom_image_purl_output,
            &self.sbom_merge_strategy,
            &self.sbom_output,
            &self.sbom_purl_output,
            &self.sbom_scanner_image,
        ];
        let materials = materials.iter().any(|flag| flag.is_some()) || !self.sbom_scanner_command.is_empty();
        let maps = !self.userns_gid_map.is_empty()
            || !self.userns_uid_map.is_empty()
            || self.userns_gid_map_group.is_some()
            || self.userns_uid_map_user.is_some();
        for (used, why) in [
            (self.cw.is_some(), "--cw: ketch makes no disk images for confidential workloads"),
            (!self.decryption_key.is_empty(), "--decryption-key: ketch does not decrypt images"),
            (!self.hooks_dir.is_empty(), "--hooks-dir: ketch runs no hooks of other runtimes"),
            (!self.layer_label.is_empty(), "--layer-label: ketch keeps no intermediate images to label"),
            (!self.runtime_flag.is_empty(), "--runtime-flag: ketch uses no other runtime"),
            (materials, "--sbom-*: ketch makes no bills of materials"),
            (self.sign_by.is_some(), "--sign-by: an image is signed when it is pushed: push --sign-by"),
            (maps, "--userns-*-map: the files of a build belong to the IDs of the default map"),
        ] {
            if used {
                return Err(Error::new(Kind::Unsupported, why));
            }
        }
        Ok(())
    }
}
