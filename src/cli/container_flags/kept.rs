//! Flags of `run` and `exec`: descriptors that the command gets.

use clap::Args;

use crate::base::order::InOrder as _;
use crate::engine::{Error, Result};

/// Most descriptors that one command gets: with others they fit one message.
const MOST: usize = 128;

/// Which descriptors the command gets, under the numbers that they have here.
#[derive(Args, Debug)]
pub(crate) struct KeptFds {
    /// Pass descriptors of these numbers on (can be repeated)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    preserve_fd: Vec<u16>,

    /// Pass so many descriptors on, from number 3
    #[arg(long, value_name = "NUMBER")]
    preserve_fds: Option<u16>,
}

impl KeptFds {
    /// Their numbers.
    ///
    /// # Errors
    ///
    /// For both flags together, for the standard streams, and for too many.
    pub(crate) fn numbers(&self) -> Result<Vec<i32>> {
        if !self.preserve_fd.is_empty() && self.preserve_fds.is_some_and(|count| count > 0) {
            return Err(Error::invalid("cannot specify both --preserve-fds and --preserve-fd"));
        }
        let mut numbers: Vec<i32> = self.preserve_fd.iter().copied().map(i32::from).collect();
        numbers.extend((0..self.preserve_fds.unwrap_or(0)).map(|index| i32::from(index) + 3));
        numbers.order();
        numbers.dedup();
        if let Some(number) = numbers.first().filter(|number| **number < 3) {
            return Err(Error::invalid(format!(
                "descriptor {number} is a standard stream: those are passed on anyway"
            )));
        }
        if numbers.len() > MOST {
            return Err(Error::invalid(format!(
                "{} descriptors: at most {MOST} can be passed on",
                numbers.len()
            )));
        }
        Ok(numbers)
    }
}
