//! Finding things: the context, the Dockerfile, base images, what `--from` names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::dockerfile::error::nearest;
use crate::base::image_document::ConfigDocument;
use crate::base::platform::Platform;
use crate::base::spec::UserNamespace;
use crate::engine::build::context::{Context, MAX_FILE, find_ignore, first_of, read_file};
use crate::engine::build::fault::Fault;
use crate::engine::build::provenance::{self, Material};
use crate::engine::build::request::{BuildEvent, BuildRequest};
use crate::engine::build::state::State;
use crate::engine::build::{Builder, Lane, Result, Root, plan, remote};
use crate::engine::pull::{self, PullPolicy};
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::{Engine, Error, Kind, config};
use crate::runtime::copy;
use crate::store::images::ImageRecord;
use crate::store::staging::{self, Staged};
use crate::store::unpack::decoder;

/// What a build is made of.
#[derive(Debug)]
pub(super) struct Read {
    /// What the Dockerfile is called in messages.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) context: Context,
    /// What of it came from elsewhere.
    pub(super) materials: Vec<Material>,
}

/// What `--build-context` names.
#[derive(Debug)]
pub(super) enum Named {
    Files(Context),
    Image(String),
}

/// Names that a Dockerfile has if nobody says.
const NAMES: [&str; 2] = ["Containerfile", "Dockerfile"];

/// Reads the context and the Dockerfile.
pub(super) fn read(engine: &Engine, request: &BuildRequest) -> Result<Read> {
    let directory = config::directory()?;
    let text = request.context.to_string_lossy().into_owned();
    let path = directory.join(request.context.as_path());
    let mut dockerfile = None;
    let mut materials = Vec::new();
    let mut context = if text == "-" {
        let from_stdin = read_stdin_context(engine)?;
        dockerfile = from_stdin.1;
        from_stdin.0
    } else if let Some(checked_out) = remote::context_of_repository(engine, request, &text) {
        let (staged, root, commit) = checked_out?;
        materials.push(Material { uri: text.clone(), algorithm: "sha1", digest: commit });
        Context::new(root, Some(staged))
    } else if remote::is_remote(&text) {
        let (staged, fetched) = remote::download(engine, &text)?;
        let digest = remote::digest_of(&fetched.path.join(&fetched.name))?.hex();
        materials.push(Material { uri: text.clone(), algorithm: "sha256", digest });
        let file = open(&fetched.path.join(&fetched.name))?;
        let read = of_archive_or_dockerfile(engine, file)?;
        drop(staged);
        dockerfile = read.1;
        read.0
    } else if path.is_dir() {
        let root = std::fs::canonicalize(&path).map_err(|err| Error::system(format!("find {text}"), err))?;
        Context::new(root, None)
    } else if path.is_file() {
        let (context, file) = of_archive_or_dockerfile(engine, open(&path)?)?;
        match file {
            // Nothing was sent: a context without files.
            Some(content) if request.files_within && content.is_empty() => {}
            Some(_) if request.files_within => {
                return Err(Fault::plain("the build context is no tar archive"));
            }
            Some(_) => return Err(Error::invalid(format!("context must be a directory: {text}")).into()),
            None => {}
        }
        context
    } else {
        return Err(match path.metadata() {
            Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied => {
                Error::system(format!("read the context directory {text}"), err)
            }
            _ => Error::new(Kind::Invalid, format!("context directory {text}: not found")),
        }
        .into());
    };
    let (name, content, own_path) = match (dockerfile, &request.files[..]) {
        (Some(content), []) => ("Dockerfile".to_owned(), content, None),
        (Some(content), _) if request.files_within => ("Dockerfile".to_owned(), content, None),
        (_, files) if request.files_within => find_within(&context, files)?,
        (_, files) => find_dockerfile(engine, &context, files, &directory)?,
    };
    let content = match &own_path {
        Some(path) if path.extension().is_some_and(|ending| ending == "in") => {
            preprocess(path, &context.root, &request.preprocessor)?
        }
        _ => content,
    };
    let text = String::from_utf8(content).map_err(|err| {
        let line =
            err.as_bytes()[..err.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        Error::invalid(format!("{name}:{line}: a Dockerfile is UTF-8 text, and this line is not"))
    })?;
    context.ignore = match &request.ignore_file {
        Some(path) => read_file(open(&directory.join(path))?, path)?.into(),
        None if request.files_within => first_of(&context, [".dockerignore", ".containerignore"])?,
        None => find_ignore(&context, own_path.as_deref())?,
    };
    crate::base::dockerfile::ignore::Ignore::parse(context.ignore.as_bytes())
        .map_err(|line| Error::invalid(format!("the ignore file has a malformed pattern in line {line}")))?;
    Ok(Read { name, text, context, materials })
}

/// A Dockerfile that is no file of its own.
#[derive(Debug)]
pub(crate) struct InlineFile(File);

/// A context that came as an archive, until it is unpacked.
#[derive(Debug)]
pub(crate) struct KeptContext(Staged);

/// Keeps an archive that somebody sends as a context, to build from [its path](KeptContext::path).
///
/// # Errors
///
/// If it cannot be read or written.
pub(crate) fn keep_context(engine: &Engine, mut archive: impl std::io::Read) -> Result<KeptContext, Error> {
    let staged = staging::dir(engine.store())?;
    let kept = KeptContext(staged);
    let mut file = File::create(kept.path()).map_err(|err| Error::system("keep the build's context", err))?;
    std::io::copy(&mut archive, &mut file).map_err(|err| Error::system("read the build's context", err))?;
    Ok(kept)
}

impl KeptContext {
    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("context")
    }
}

/// Makes a file of text, which is gone with the value.
///
/// # Errors
///
/// If the kernel refuses.
pub(crate) fn inline_file(text: &str) -> Result<InlineFile, Error> {
    use std::io::Write as _;
    let failed = |err: std::io::Error| Error::system("keep a Dockerfile", err);
    let fd = rustix::fs::memfd_create("Dockerfile", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(fd.map_err(|errno| failed(errno.into()))?);
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(InlineFile(file))
}

impl InlineFile {
    /// Where this process finds it.
    pub(crate) fn path(&self) -> String {
        use std::os::fd::AsRawFd as _;
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

/// Has the C preprocessor read a Dockerfile whose name ends in `.in`, as podman does.
fn preprocess(path: &Path, context: &Path, flags: &[String]) -> Result<Vec<u8>, Error> {
    let mut command = std::process::Command::new("cpp");
    command.args(["-E", "-iquote"]).arg(context).args(["-traditional", "-undef", "-P", "-"]).args(flags);
    let output = command.stdin(open(path)?).output().map_err(|err| {
        Error::new(Kind::Unsupported, format!("{} needs the C preprocessor", path.display()))
            .because(err)
            .hint("install the program cpp")
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Error::invalid(format!("cpp: {}", text.lines().next().unwrap_or("it failed"))))
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|err| Error::invalid(format!("open {}", path.display())).because(err))
}

/// Standard input: a Dockerfile, or an archive with the context.
fn read_stdin_context(engine: &Engine) -> Result<(Context, Option<Vec<u8>>)> {
    let staged = staging::dir(engine.store())?;
    let path = staged.path().join("stdin");
    let mut file = File::create(&path).map_err(|err| Error::system("keep standard input", err))?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file)
        .map_err(|err| Error::system("read standard input", err))?;
    of_archive_or_dockerfile(engine, open(&path)?)
}

/// Unpacks an archive as a context; anything else is a Dockerfile without one.
fn of_archive_or_dockerfile(engine: &Engine, file: File) -> Result<(Context, Option<Vec<u8>>)> {
    let staged = staging::dir(engine.store())?;
    let dir = staged.subdir("context")?;
    let root = staged.path().join("context");
    let again = |file: &File| {
        use std::os::fd::AsRawFd as _;
        open(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))
    };
    if copy::is_archive(again(&file)?) {
        unpack(again(&file)?, dir)?;
        return Ok((Context::new(root, Some(staged)), None));
    }
    let mut content = Vec::new();
    file.take(MAX_FILE as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|err| Error::system("read the Dockerfile", err))?;
    if content.len() > MAX_FILE {
        return Err(Fault::plain("neither an archive nor a Dockerfile of sane size"));
    }
    Ok((Context::new(root, Some(staged)), Some(content)))
}

fn unpack(file: File, dir: OwnedFd) -> Result<()> {
    let archive = decoder(file).map_err(|err| Error::invalid("read the context's archive").because(err))?;
    copy::unpack_into(dir, archive).map_err(|failure| Fault::plain(failure.message))
}

/// Reads Dockerfiles of the context, by docker's name for it if nobody says; several are read one after the other.
fn find_within(
    context: &Context,
    files: &[crate::base::bytes::Bytes],
) -> Result<(String, Vec<u8>, Option<PathBuf>)> {
    let usual = ["Dockerfile".into()];
    let mut all = Vec::new();
    let mut first = None;
    for file in if files.is_empty() { &usual[..] } else { files } {
        let name = file.to_string_lossy();
        let content = context.read(file.as_path())?;
        all.extend(
            content.ok_or_else(|| Fault::plain(format!("Cannot locate specified Dockerfile: {name}")))?,
        );
        first.get_or_insert_with(|| name.rsplit('/').next().unwrap_or_default().to_owned());
        if !all.ends_with(b"\n") {
            all.push(b'\n');
        }
    }
    // None that is used alone has an ignore file of its own: the context came without what it leaves out.
    Ok((first.unwrap_or_default(), all, None))
}

/// Finds and reads the Dockerfile; several are read one after the other.
fn find_dockerfile(
    engine: &Engine,
    context: &Context,
    files: &[crate::base::bytes::Bytes],
    directory: &Path,
) -> Result<(String, Vec<u8>, Option<PathBuf>)> {
    if files.is_empty() {
        for name in NAMES {
            if let Some(content) = context.read(Path::new(name))? {
                return Ok((name.to_owned(), content, Some(context.root.join(name))));
            }
        }
        let message = format!("no Containerfile or Dockerfile found in {}", context.root.display());
        return Err(Fault::plain(message).hint("name it: -f FILE"));
    }
    let mut all = Vec::new();
    let (mut name, mut path) = (String::new(), None);
    for file in files {
        let text = file.to_string_lossy().into_owned();
        let content = if text == "-" {
            let mut content = Vec::new();
            let mut stdin = std::io::stdin().lock().take(MAX_FILE as u64);
            stdin.read_to_end(&mut content).map_err(|err| Error::system("read standard input", err))?;
            content
        } else if remote::is_remote(&text) {
            let (_staged, fetched) = remote::download(engine, &text)?;
            read_file(open(&fetched.path.join(&fetched.name))?, &fetched.path)?
        } else {
            let here = directory.join(file.as_path());
            if here.is_file() {
                path = Some(here.clone());
                read_file(open(&here)?, &here)?
            } else {
                // podman looks in the context, too.
                let found = context.read(file.as_path())?;
                path = Some(context.root.join(file.as_path()));
                found.ok_or_else(|| {
                    Fault::plain(format!("the specified Containerfile or Dockerfile does not exist: {text}"))
                })?
            }
        };
        if name.is_empty() {
            let last = text.rsplit('/').next().unwrap_or_default();
            (if last == "-" { "Dockerfile" } else { last }).clone_into(&mut name);
        }
        all.extend(content);
        if !all.ends_with(b"\n") {
            all.push(b'\n');
        }
    }
    Ok((name, all, path))
}

/// `DIRECTORY[:NAME|@DIGEST]`, as buildx has it, as a place of images: without a name it is the image called `latest`.
fn of_layout(directory: &Path, layout: &str) -> String {
    let (path, name) = match (layout.split_once('@'), layout.rsplit_once(':')) {
        (Some((path, digest)), _) => (path, digest),
        (None, Some((path, name))) if !name.contains('/') => (path, name),
        _ => (layout, "latest"),
    };
    format!("oci:{}:{name}", directory.join(path).display())
}

/// The contexts of `--build-context`.
pub(super) fn contexts(engine: &Engine, request: &BuildRequest) -> Result<BTreeMap<String, Named>> {
    let mut found = BTreeMap::new();
    for (name, text) in &request.contexts {
        let image = ["docker-image://", "container-image://", "container-image:", "docker://"];
        let named = if let Some(image) = image.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            Named::Image(image.to_owned())
        } else if let Some(layout) = text.strip_prefix("oci-layout://") {
            Named::Image(of_layout(&config::directory()?, layout))
        } else if let Some(checked_out) = remote::context_of_repository(engine, request, text) {
            let (staged, root, _) = checked_out?;
            Named::Files(Context::new(root, Some(staged)))
        } else if remote::is_remote(text) {
            let (_staged, fetched) = remote::download(engine, text)?;
            let (context, dockerfile) =
                of_archive_or_dockerfile(engine, open(&fetched.path.join(&fetched.name))?)?;
            if dockerfile.is_some() {
                return Err(Fault::plain(format!("--build-context {name}: {text} is no archive")));
            }
            Named::Files(context)
        } else {
            let path = config::directory()?.join(text.strip_prefix("local:").unwrap_or(text));
            let root = std::fs::canonicalize(&path)
                .map_err(|err| Error::invalid(format!("--build-context {name}: {text}")).because(err))?;
            let mut context = Context::new(root, None);
            context.ignore = find_ignore(&context, None)?;
            Named::Files(context)
        };
        found.insert(name.clone(), named);
    }
    Ok(found)
}

impl Builder<'_> {
    /// A context by its name; the build's own without one.
    pub(super) fn context(&self, name: Option<&str>) -> &Context {
        match name.and_then(|name| self.contexts.get(name)) {
            Some(Named::Files(context)) => context,
            _ => &self.context,
        }
    }

    /// The files that `--from` means.
    pub(super) fn root_of(&mut self, lane: &Lane, name: &str) -> Result<Root, Error> {
        if name.is_empty() {
            return Ok(Root::Context(None));
        }
        let image = match self.contexts.get(name) {
            Some(Named::Files(_)) => return Ok(Root::Context(Some(name.to_owned()))),
            Some(Named::Image(image)) => image.clone(),
            None => name.to_owned(),
        };
        if let Some(stage) = plan::find(&self.plan.stages, lane.stage, &image) {
            let state = self.done[stage].as_ref();
            let state =
                state.ok_or_else(|| Error::invalid(format!("stage {name} is used before it is built")))?;
            return Ok(Root::Layers(state.layers.iter().map(|(wanted, _)| wanted.name).collect()));
        }
        if image == "scratch" {
            return Err(Error::invalid("there are no files in scratch"));
        }
        if image.bytes().all(|digit| digit.is_ascii_digit()) {
            let message = format!("--from={image}: there is no stage {image} before this one");
            return Err(Error::new(Kind::NotFound, message).hint("stages are counted from 0"));
        }
        let state = self.base_image(&image, None).map_err(|fault| {
            let stages: Vec<&str> =
                self.plan.stages[..lane.stage].iter().map(|stage| stage.name.as_str()).collect();
            match nearest(&image.to_ascii_lowercase(), &stages) {
                Some(near) => fault.error.hint(format!("did you mean the stage {near}?")),
                None => fault.error,
            }
        })?;
        Ok(Root::Layers(state.layers.iter().map(|(wanted, _)| wanted.name).collect()))
    }

    /// The state that a stage from an image begins with.
    pub(super) fn base_image(&mut self, name: &str, platform: Option<&Platform>) -> Result<State> {
        let typed = match self.contexts.get(name) {
            Some(Named::Image(image)) => image.clone(),
            Some(Named::Files(_)) => {
                return Err(Fault::plain(format!("{name} is a context of files: FROM takes an image")));
            }
            None => name.to_owned(),
        };
        let platform = platform.or(self.request.platform.as_ref()).cloned();
        let known = format!("{typed} {}", platform.as_ref().map(ToString::to_string).unwrap_or_default());
        if let Some(state) = self.images.get(&known) {
            return Ok(state.clone());
        }
        let id = self.obtain(&typed, platform)?;
        let store = self.engine.store();
        let image = self.engine.image(&id.to_string())?.image;
        self.note_image(&typed, &image);
        let text = store.blobs().read_small(&image.id, MAX_DOCUMENT)?;
        let document = ConfigDocument::parse(&text)
            .map_err(|err| Error::system(format!("understand the configuration of image {typed}"), err))?;
        // Makes sure that the layers are there.
        self.engine.layers_for(&image, &UserNamespace::Default)?;
        let layers = self.engine.image_layers(&image)?;
        {
            let _lock = store.lock_shared(&mut |_, _| {})?;
            for (wanted, descriptor) in &layers {
                self.pins.pin_layer(&wanted.name)?;
                self.pins.pin_blob(&descriptor.digest)?;
            }
        }
        let mut state = State::new(document, layers).on(image.platform.clone());
        state.created = image.created;
        state.base = Some(image.id);
        self.images.insert(known, state.clone());
        Ok(state)
    }

    /// Notes that an image was used.
    fn note_image(&mut self, typed: &str, image: &ImageRecord) {
        let Some(stored) = image.manifest() else { return };
        let digest = stored.index.unwrap_or(stored.digest);
        let uri = provenance::package(typed, &image.platform);
        let material = Material { uri, algorithm: "sha256", digest: digest.hex() };
        if !self.materials.contains(&material) {
            self.materials.push(material);
        }
    }

    /// Gets an image; the built-in one is made.
    fn obtain(&mut self, typed: &str, platform: Option<Platform>) -> Result<Digest> {
        if self.request.pull.policy != PullPolicy::Always && self.engine.obtain_builtin(typed)? {
            return Ok(self.engine.image(typed)?.image.id);
        }
        let mut request = self.request.pull.clone();
        request.platform = platform;
        let events = std::cell::RefCell::new(&mut *self.events);
        let tell = |event: &pull::PullEvent<'_>| (events.borrow_mut())(&BuildEvent::Pull(event));
        Ok(pull::pull(self.engine, typed, &request, &tell)?.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, want) in [
            ("d", "oci:/c/d:latest".to_owned()),
            ("/a/d:1.2", "oci:/a/d:1.2".to_owned()),
            (&format!("d@{digest}"), format!("oci:/c/d:{digest}")),
        ] {
            assert_eq!(of_layout(Path::new("/c"), text), want, "{text}");
        }
    }
}
