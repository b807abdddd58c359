//! A thread in G that changes networks: adding a link takes milliseconds, in which bytes must flow.
//!
//! ```text
//! main loop ──job──▶ worker (in G, visits containers) ──what to do with the result──▶ main loop
//! ```
//!
//! Jobs run in order, one at a time.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;

use rustix::event::EventfdFlags;
use rustix::io::Errno;

use super::Netd;
use super::site::Site;

/// What the main loop does with the result of a job.
pub(super) type Continuation = Box<dyn FnOnce(&mut Netd) + Send>;
type Job = Box<dyn FnOnce(&mut Site) -> Continuation + Send>;

/// The main loop's end of the worker.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Continuation>,
    wake: OwnedFd,
}

impl Worker {
    /// Starts the worker thread, which moves into G with `site`'s namespace.
    pub(super) fn start(mut site: Site) -> std::io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = rustix::event::eventfd(0, flags)?;
        let ring = wake.try_clone()?;
        let (jobs, todo) = mpsc::channel::<Job>();
        let (finished, done) = mpsc::channel();
        std::thread::Builder::new().name("links".into()).stack_size(512 * 1024).spawn(move || {
            // Jobs report for themselves that the site cannot be entered.
            site.enter().ok();
            for job in todo {
                if finished.send(job(&mut site)).is_err() {
                    return;
                }
                rustix::io::write(&ring, &1_u64.to_ne_bytes()).ok();
            }
        })?;
        Ok(Self { jobs, done, wake })
    }

    /// Queues a job. Its continuation runs in the main loop.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Site) -> T + Send + 'static,
        then: impl FnOnce(&mut Netd, T) + Send + 'static,
    ) {
        let job: Job = Box::new(move |site| {
            let result = job(site);
            Box::new(move |netd| then(netd, result))
        });
        // The thread lives as long as this sender.
        self.jobs.send(job).ok();
    }

    /// Readable when a job is done.
    pub(super) fn wake(&self) -> impl AsFd + '_ {
        &self.wake
    }

    /// The next finished job.
    pub(super) fn finished(&self) -> Option<Continuation> {
        self.done.try_recv().ok()
    }

    /// Makes [`Worker::wake`] unreadable until the next job is done.
    pub(super) fn quiet(&self) -> Result<(), Errno> {
        match rustix::io::read(&self.wake, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
