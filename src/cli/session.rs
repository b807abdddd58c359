//! What a verb works with: the engine, the output, and the rule for several targets.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::image_ref::NameRule;
use crate::cli::error::{AlreadyReported, FAILED, removal_exit_code, report, shown};
use crate::cli::format::{Format, FormatError, Shape};
use crate::cli::globals::{Globals, LogLevel};
use crate::engine::config::Config;
use crate::engine::config::containers_conf::ContainersConf;
use crate::engine::{self, Engine, Kind};

/// What docker says otherwise where it asks, after podman's words.
const DOCKERS_QUESTIONS: [(&str, &str); 7] = [
    ("This command removes", "This will remove"),
    ("\t- all stopped pods\n", ""),
    ("\t- ", "  - "),
    ("least one container\n  - all dangling build", "least one container associated to them\n  - all build"),
    ("all dangling build cache", "unused build cache"),
    ("all non running containers", "all stopped containers"),
    ("remove all networks not used", "remove all custom networks not used"),
];

/// A warning as docker compose writes it, whose log it goes to: `WARN[0000] …` on a terminal, else a line of `key=value`.
fn logged(message: &str, no_colour: bool) -> String {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let seconds = BEGUN.get_or_init(Instant::now).elapsed().as_secs();
    match io::stderr().is_terminal() {
        true if no_colour => format!("WARN[{seconds:04}] {}", shown(message)),
        true => format!("\x1b[33mWARN\x1b[0m[{seconds:04}] {}", shown(message)),
        false => {
            let now = Timestamp::now().to_zoned(TimeZone::system());
            let zone = if now.offset().is_zero() { "Z" } else { "%:z" };
            let time = now.strftime(&format!("%Y-%m-%dT%H:%M:%S{zone}")).to_string();
            format!("time=\"{time}\" level=warning msg={message:?}")
        }
    }
}

/// The exit code of a verb that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// All went well.
    pub(crate) const OK: Self = Self(0);

    /// The answer of `… exists`: 0 for what was found, 1 for what is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be told.
    pub(crate) fn of_existence<T>(found: engine::Result<T>) -> anyhow::Result<Self> {
        match found {
            Ok(_) => Ok(Self::OK),
            Err(err) if err.kind == Kind::NotFound => Ok(Self(1)),
            Err(err) => Err(err.into()),
        }
    }
}

impl From<()> for Exit {
    fn from((): ()) -> Self {
        Self::OK
    }
}

/// One command of the user, while it is carried out.
pub(crate) struct Session<'a> {
    /// The global flags.
    pub(crate) globals: &'a Globals,
    /// Standard output, buffered; `finish` flushes it.
    pub(crate) out: BufWriter<Box<dyn Write + 'a>>,
    /// Standard output is a terminal: text from elsewhere is escaped.
    pub(crate) out_is_tty: bool,
    engine: OnceCell<Engine>,
    /// What containers.conf says, for verbs that need no store.
    conf: OnceCell<ContainersConf>,
    /// The verb only looks: where there is no store, it makes none.
    only_looks: bool,
    /// The empty store that it looks at instead. After the engine, which uses it.
    nothing: OnceCell<EmptyPlace>,
}

/// A directory of this process alone, which goes with it.
struct EmptyPlace(PathBuf);

impl EmptyPlace {
    fn make() -> Option<Self> {
        // A killed process of the same number may have left one behind.
        (0..100).find_map(|n| {
            let path = std::env::temp_dir().join(format!("ketch-{}-{n}", std::process::id()));
            std::fs::DirBuilder::new().mode(0o700).create(&path).ok().map(|()| Self(path))
        })
    }
}

impl Drop for EmptyPlace {
    fn drop(&mut self) {
        // What stays is an empty store in a place that is emptied anyway.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("globals", &self.globals).finish_non_exhaustive()
    }
}

impl<'a> Session<'a> {
    /// A session that prints to standard output.
    ///
    /// With `only_looks`, a store that is not there is not made.
    pub(crate) fn new(globals: &'a Globals, only_looks: bool) -> Self {
        let stdout = io::stdout();
        let out_is_tty = stdout.is_terminal();
        Self {
            globals,
            out: BufWriter::with_capacity(32 << 10, Box::new(stdout.lock())),
            out_is_tty,
            engine: OnceCell::new(),
            conf: OnceCell::new(),
            only_looks,
            nothing: OnceCell::new(),
        }
    }

    /// The engine; its store is opened by the first call.
    ///
    /// # Errors
    ///
    /// If the store cannot be opened.
    pub(crate) fn engine(&self) -> engine::Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let config = self.config()?;
        // What it warns of is said once.
        let engine = match self.conf.get() {
            Some(conf) => Engine::with_conf(&config, conf.clone(), tell)?,
            None => Engine::open(&config, tell)?,
        };
        Ok(self.engine.get_or_init(|| engine))
    }

    /// The configuration, with an empty place for a store where a verb only looks and there is none.
    fn config(&self) -> engine::Result<Cow<'a, Config>> {
        let config = &self.globals.config;
        if !self.only_looks || config.data_root()?.exists() {
            return Ok(Cow::Borrowed(config));
        }
        let Some(place) = EmptyPlace::make() else { return Ok(Cow::Borrowed(config)) };
        let root = Some(self.nothing.get_or_init(|| place).0.clone());
        Ok(Cow::Owned(Config { root, ..config.clone() }))
    }

    /// What containers.conf says; opens no store.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or understood.
    pub(crate) fn conf(&self) -> engine::Result<&ContainersConf> {
        if let Some(conf) = self.engine.get().map(Engine::conf).or_else(|| self.conf.get()) {
            return Ok(conf);
        }
        let conf = self.globals.config.containers_conf(tell)?;
        Ok(self.conf.get_or_init(|| conf))
    }

    /// What short names of images mean to who called, and how names are shown.
    pub(crate) fn name_rule(&self) -> NameRule {
        self.globals.config.name_rule
    }

    /// Tells the user something that is no failure, if they want to know.
    pub(crate) fn warn(&self, message: impl Display) {
        if self.globals.log_level >= LogLevel::Warn {
            let message = self.globals.called.in_its_name(&message.to_string()).into_owned();
            match self.globals.verb.starts_with("compose ") {
                true => say!("{}", logged(&message, self.globals.project.no_colour)),
                false => say!("Warning: {}", shown(&message)),
            }
        }
    }

    /// Tells what goes on, beside what is printed.
    pub(crate) fn note(&self, message: impl Display) {
        say!("{}", shown(&self.globals.called.in_its_name(&message.to_string())));
    }

    /// Reports a failure that does not end the command.
    pub(crate) fn report(&mut self, err: engine::Error) {
        // Keeps what was printed before the message before it; an error shows up in `finish`.
        self.out.flush().ok();
        report(&err.into(), self.globals);
    }

    /// Does `action` to each target and prints those that went well, in order.
    ///
    /// Docker's rule for commands with several targets: one failure does not spare the others, each
    /// failure is reported at once, and the command as a whole then fails, with the exit codes of removal:
    /// 1 for a missing target, 2 for one in use; the highest wins. `action` tells whether there was anything to remove.
    ///
    /// # Errors
    ///
    /// [`AlreadyReported`] if any target failed; if the store or standard output cannot be used.
    pub(crate) fn for_each_removal<T: Display>(
        &mut self,
        targets: &[T],
        mut action: impl FnMut(&Engine, &T) -> engine::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut code = 0;
        for target in targets {
            match action(self.engine()?, target) {
                Ok(true) => writeln!(self.out, "{target}")?,
                Ok(false) => {}
                Err(err) => {
                    code = code.max(removal_exit_code(&err));
                    self.report(err);
                }
            }
        }
        self.outcome(code)
    }

    /// The result of a command that has reported its failures: none if `code` is 0.
    ///
    /// # Errors
    ///
    /// [`AlreadyReported`] with that code.
    pub(crate) fn outcome(&self, code: u8) -> anyhow::Result<()> {
        if code == 0 { Ok(()) } else { Err(AlreadyReported { code }.into()) }
    }

    /// Reports what could not be done, and answers the result of the command: a failure if there was any.
    ///
    /// # Errors
    ///
    /// [`AlreadyReported`] with [`FAILED`].
    pub(crate) fn outcome_of(&mut self, failed: Vec<engine::Error>) -> anyhow::Result<()> {
        let code = if failed.is_empty() { 0 } else { FAILED };
        failed.into_iter().for_each(|err| self.report(err));
        self.outcome(code)
    }

    /// What becomes of `-it` where standard input is no terminal: podman warns and goes on, and a shell then waits for
    /// ever; docker refuses.
    ///
    /// # Errors
    ///
    /// docker's refusal, and its exit code.
    pub(crate) fn lacks_terminal(&self) -> anyhow::Result<()> {
        if self.globals.called.is_docker() {
            let refusal = engine::Error::invalid("the input device is not a TTY");
            let hint = "leave --tty out: --interactive alone passes the input on";
            report(&refusal.hint(hint).into(), self.globals);
            return Err(AlreadyReported { code: 1 }.into());
        }
        self.warn("The input device is not a TTY. The --tty and --interactive flags might not work properly");
        Ok(())
    }

    /// Whether listings print JSON as docker does, where all of them is asked for: a line of its own for each object,
    /// with docker's fields.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be read.
    pub(crate) fn lists_as_docker(&self, format: Option<&Format>) -> anyhow::Result<bool> {
        Ok(format.is_some_and(Format::is_whole) && self.prints_json_lines()?)
    }

    /// What `--format` asks of a listing: none for its usual table, which docker calls `table` as well.
    ///
    /// # Errors
    ///
    /// If it is a template with a mistake.
    pub(crate) fn format(
        &self,
        text: Option<&str>,
        shape: &Shape,
    ) -> std::result::Result<Option<Format>, FormatError> {
        let is_docker = self.globals.called.is_docker();
        let text = text.filter(|text| !(is_docker && text.trim() == "table"));
        text.map(|text| Format::read(text, shape, !is_docker)).transpose()
    }

    /// Whether the JSON of a listing has a line for each object, as docker's.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be read.
    pub(crate) fn prints_json_lines(&self) -> anyhow::Result<bool> {
        Ok(self.globals.called.is_docker() || self.conf()?.ketch.json_lines)
    }

    /// Asks a question that is answered by `y`; anything else means no.
    ///
    /// # Errors
    ///
    /// If standard output or input cannot be used.
    pub(crate) fn confirm(&mut self, question: &str) -> anyhow::Result<bool> {
        let mut question = question.to_owned();
        if self.globals.called.is_docker() {
            for (podmans, dockers) in DOCKERS_QUESTIONS {
                question = question.replace(podmans, dockers);
            }
        }
        write!(self.out, "{question}\nAre you sure you want to continue? [y/N] ")?;
        self.out.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).context("read the answer")?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Writes out what is still buffered.
    ///
    /// # Errors
    ///
    /// If standard output does not take it (a full disk behind `>`).
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        match self.out.flush() {
            Err(err) if err.kind() != io::ErrorKind::BrokenPipe => {
                Err(err).context("write to standard output")
            }
            other => Ok(other?),
        }
    }
}

/// How the engine speaks while it works.
pub(crate) fn tell(text: &str) {
    say!("{}", shown(text));
}
