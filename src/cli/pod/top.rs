//! `ketch pod top`: the processes of a pod.

use clap::Args;

use crate::cli::pod::{LatestPod, one};
use crate::cli::session::Session;
use crate::cli::top;
use crate::cli::usage::UsageError;
use crate::engine::Kind;

/// Show the processes of the running containers of a pod
///
/// Takes the descriptors of `top`, or options of ps(1).
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    latest: LatestPod,

    /// The pod, by name or ID, then descriptors or options of ps(1)
    #[arg(value_name = "POD [FORMAT|PS OPTIONS]", trailing_var_arg = true)]
    words: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: TopArgs) -> anyhow::Result<()> {
    let mut words = args.words;
    if !args.latest.latest && words.is_empty() {
        return Err(UsageError::new("you must provide the name or id of a running pod").into());
    }
    let name = (!args.latest.latest).then(|| words.remove(0));
    let engine = session.engine()?;
    let members = engine.pod_details(&one(engine, name.as_deref())?)?.members_first();
    match engine.top_of_running(&members, &words) {
        Err(err) if err.kind == Kind::Invalid => {
            // Those of containers that do not run are none.
            let pids: Vec<i32> =
                members.iter().flat_map(|id| engine.processes(id).unwrap_or_default()).collect();
            top::print_lines(session, &pids, &words, err)
        }
        rows => top::print(session, rows?),
    }
}
