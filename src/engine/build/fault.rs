//! What went wrong with a build, and where in its Dockerfile.

use crate::base::dockerfile::error::excerpt;
use crate::base::dockerfile::{DockerfileError, Line};
use crate::base::image_ref::NameRule;
use crate::engine::{Error, Kind};
use crate::store::StoreError;

/// A failure within a build.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) error: Error,
    /// The first and the last line of the instruction.
    pub(super) lines: Option<(usize, usize)>,
    /// Or the very place.
    pub(super) place: Option<Box<DockerfileError>>,
    /// The exit code of a RUN.
    pub(crate) exit: Option<i32>,
    /// The place with the lines around it, as text.
    #[allow(clippy::box_collection, reason = "one word instead of three in every result of a build")]
    pub(crate) picture: Option<Box<String>>,
}

impl Fault {
    pub(super) fn plain(message: impl Into<String>) -> Self {
        Error::invalid(message.into()).into()
    }

    /// A failure of an instruction.
    pub(super) fn at(line: &Line, error: Error) -> Self {
        Self::from(error).of(line)
    }

    /// The instruction it belongs to, unless that is known better.
    pub(super) fn of(mut self, line: &Line) -> Self {
        self.lines = self.lines.or(Some(line.lines));
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.error = self.error.hint(hint.into());
        self
    }

    /// Draws the place from the text of the Dockerfile called `name`, in the way of whose names are typed.
    pub(super) fn drawn(mut self, name: &str, text: &str, rule: NameRule) -> Self {
        self.picture = match (&self.place, self.lines) {
            (Some(place), _) if rule == NameRule::Docker => {
                Some(Box::new(excerpt(name, text, (place.at.line, place.at.line))))
            }
            (Some(place), _) => Some(Box::new(place.picture(name, text))),
            (None, Some(lines)) => Some(Box::new(excerpt(name, text, lines))),
            (None, None) => None,
        };
        self
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { error, lines: None, place: None, exit: None, picture: None }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

impl From<DockerfileError> for Fault {
    fn from(place: DockerfileError) -> Self {
        let is_placed = place.at.line > 0;
        let message = match is_placed {
            true => format!("dockerfile parse error on {place}"),
            false => place.message.clone(),
        };
        let error = Error::new(Kind::Invalid, message);
        let error = match &place.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        };
        let place = is_placed.then(|| Box::new(place));
        Self { error, lines: None, place, exit: None, picture: None }
    }
}
