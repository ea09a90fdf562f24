//! Arguments that say what folders and profiles may do, and how their words are read.

use clap::Args;
use ringfence_model::folder::Exception;
use ringfence_model::machine::LimitWords;
use ringfence_model::name::SecretName;
use ringfence_model::profile::Selector;
use ringfence_model::size::Size;

/// Sizes of a machine.
#[derive(Debug, Clone, Copy, Args)]
pub struct LimitArgs {
    /// Virtual processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    cpus: Option<u32>,
    /// Memory, as in 4GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Disk, as in 40GiB
    #[arg(long, value_name = "SIZE")]
    disk: Option<Size>,
}

impl From<LimitArgs> for LimitWords {
    fn from(args: LimitArgs) -> Self {
        Self { cpus: args.cpus, memory: args.memory, disk: args.disk }
    }
}

/// A list as one argument: words with commas between them, or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

fn list<T>(
    text: &str,
    read: impl Fn(&str) -> std::result::Result<T, String>,
) -> std::result::Result<List<T>, String> {
    if text == "none" {
        return Ok(List(Vec::new()));
    }
    text.split(',').map(|one| read(one.trim())).collect::<std::result::Result<_, _>>().map(List)
}

/// Profiles and labels.
///
/// # Errors
/// The word that is neither.
pub fn selectors(text: &str) -> std::result::Result<List<Selector>, String> {
    list(text, |one| Selector::try_from(one.to_owned()).map_err(|error| error.to_string()))
}

/// Names of secrets.
///
/// # Errors
/// The word that is no name.
pub fn secrets(text: &str) -> std::result::Result<List<SecretName>, String> {
    list(text, |one| {
        one.parse().map_err(|error: ringfence_model::name::NameError| error.to_string())
    })
}

/// Plain words: hosts, labels.
///
/// # Errors
/// When one is empty.
pub fn words(text: &str) -> std::result::Result<List<String>, String> {
    list(text, |one| match one {
        "" => Err("a word is missing between two commas".into()),
        one => Ok(one.to_owned()),
    })
}

/// Reasons against sharing a directory.
///
/// # Errors
/// The word that is none.
pub fn exceptions(text: &str) -> std::result::Result<List<Exception>, String> {
    list(text, |one| {
        Exception::ALL.into_iter().find(|exception| exception.as_str() == one).ok_or_else(|| {
            let known = Exception::ALL.map(Exception::as_str).join(", ");
            format!("`{one}` is no reason against sharing a directory: {known}")
        })
    })
}

/// `NAME=VALUE`.
///
/// # Errors
/// When there is no `=`.
pub fn variable(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_words_with_commas_or_none() {
        let show =
            |text| selectors(text).map(|list| list.0.iter().map(ToString::to_string).collect());
        assert_eq!(show("claude, label:x"), Ok(vec!["claude".into(), "label:x".into()]));
        assert_eq!(show("none"), Ok(Vec::<String>::new()));
        assert!(show("Claude").is_err() && show("a,").is_err() && show("").is_err());
        assert_eq!(words("a.example,b"), Ok(List(vec!["a.example".into(), "b".into()])));
        assert!(words("a,,b").is_err());
        assert_eq!(exceptions("home,system"), Ok(List(vec![Exception::Home, Exception::System])));
        assert!(exceptions("everything").is_err());
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(variable("=b").is_err() && variable("A").is_err());
    }
}
