//! The rules, with BuildKit's names and words.

/// A rule of `build --check`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// The page that explains it, below BuildKit's documentation of rules; empty if there is none.
    page: &'static str,
    /// Looked at only where it is asked for.
    pub(super) experimental: bool,
}

impl Rule {
    const fn new(name: &'static str, page: &'static str, description: &'static str) -> Self {
        Self { name, description, page, experimental: false }
    }

    /// The address of the page that explains it.
    pub(crate) fn url(&self) -> Option<String> {
        let known = !self.page.is_empty();
        known.then(|| format!("https://docs.docker.com/go/dockerfile/rule/{}/", self.page))
    }
}

pub(super) static STAGE_NAME_CASING: Rule =
    Rule::new("StageNameCasing", "stage-name-casing", "Stage names should be lowercase");

pub(super) static FROM_AS_CASING: Rule = Rule::new(
    "FromAsCasing",
    "from-as-casing",
    "The 'as' keyword should match the case of the 'from' keyword",
);

pub(super) static NO_EMPTY_CONTINUATION: Rule = Rule::new(
    "NoEmptyContinuation",
    "no-empty-continuation",
    "Empty continuation lines will become errors in a future release",
);

pub(super) static CONSISTENT_INSTRUCTION_CASING: Rule = Rule::new(
    "ConsistentInstructionCasing",
    "consistent-instruction-casing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
);

pub(super) static DUPLICATE_STAGE_NAME: Rule =
    Rule::new("DuplicateStageName", "duplicate-stage-name", "Stage names should be unique");

pub(super) static RESERVED_STAGE_NAME: Rule =
    Rule::new("ReservedStageName", "reserved-stage-name", "Reserved words should not be used as stage names");

pub(super) static JSON_ARGS_RECOMMENDED: Rule = Rule::new(
    "JSONArgsRecommended",
    "json-args-recommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
);

pub(super) static MAINTAINER_DEPRECATED: Rule = Rule::new(
    "MaintainerDeprecated",
    "maintainer-deprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
);

pub(super) static UNDEFINED_ARG_IN_FROM: Rule =
    Rule::new("UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs");

pub(super) static WORKDIR_RELATIVE_PATH: Rule = Rule::new(
    "WorkdirRelativePath",
    "workdir-relative-path",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
);

pub(super) static UNDEFINED_VAR: Rule =
    Rule::new("UndefinedVar", "undefined-var", "Variables should be defined before their use");

pub(super) static MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = Rule::new(
    "MultipleInstructionsDisallowed",
    "multiple-instructions-disallowed",
    "Multiple instructions of the same type should not be used in the same stage",
);

pub(super) static LEGACY_KEY_VALUE_FORMAT: Rule = Rule::new(
    "LegacyKeyValueFormat",
    "legacy-key-value-format",
    "Legacy key/value format with whitespace separator should not be used",
);

pub(super) static REDUNDANT_TARGET_PLATFORM: Rule = Rule::new(
    "RedundantTargetPlatform",
    "redundant-target-platform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
);

pub(super) static SECRETS_USED_IN_ARG_OR_ENV: Rule = Rule::new(
    "SecretsUsedInArgOrEnv",
    "secrets-used-in-arg-or-env",
    "Sensitive data should not be used in the ARG or ENV commands",
);

pub(super) static INVALID_DEFAULT_ARG_IN_FROM: Rule = Rule::new(
    "InvalidDefaultArgInFrom",
    "invalid-default-arg-in-from",
    "Default value for global ARG results in an empty or invalid base image name",
);

pub(super) static FROM_PLATFORM_FLAG_CONST_DISALLOWED: Rule = Rule::new(
    "FromPlatformFlagConstDisallowed",
    "from-platform-flag-const-disallowed",
    "FROM --platform flag should not use a constant value",
);

pub(super) static EXPOSE_PROTO_CASING: Rule = Rule::new(
    "ExposeProtoCasing",
    "expose-proto-casing",
    "Protocol in EXPOSE instruction should be lowercase",
);

pub(super) static EXPOSE_INVALID_FORMAT: Rule = Rule::new(
    "ExposeInvalidFormat",
    "expose-invalid-format",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
);

pub(super) static COPY_IGNORED_FILE: Rule = Rule {
    experimental: true,
    ..Rule::new(
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    )
};

pub(super) static INVALID_DEFINITION_DESCRIPTION: Rule = Rule {
    experimental: true,
    ..Rule::new(
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    )
};
