//! Waiting for what nobody tells of: looking again and again.

use std::time::{Duration, Instant};

/// Looks until there is an answer, with `pause` between two looks; `None` if there was none within `patience`. One look
/// is taken in any case.
///
/// # Errors
///
/// The first one of `look`.
pub(crate) fn until<T, E>(
    patience: Duration,
    pause: Duration,
    mut look: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = look()? {
            return Ok(Some(answer));
        }
        if begun.elapsed() >= patience {
            return Ok(None);
        }
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_end_with_an_answer_an_error_or_patience() {
        let pause = Duration::from_millis(1);
        let mut looks = 0;
        let mut look = |wanted| {
            looks += 1;
            if looks > 5 { Err(looks) } else { Ok((looks == wanted).then_some(looks)) }
        };
        assert_eq!(until(Duration::MAX, pause, || look(3)), Ok(Some(3)));
        assert_eq!(until(Duration::ZERO, pause, || look(0)), Ok(None));
        assert_eq!(until(Duration::MAX, pause, || look(0)), Err(6));
    }
}
