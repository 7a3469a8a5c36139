//! A snapshot of the environment, taken once when the process starts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Everything that commands may want to know of the process's surroundings. Its `Debug` shows no values.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, OsString>,
    /// The arguments, the program's name first.
    pub(crate) arguments: Vec<OsString>,
    /// The effective user is root.
    pub(crate) is_root: bool,
    /// Width of the terminal in columns, if stdout is one.
    pub(crate) columns: Option<usize>,
}

impl Environment {
    /// Reads the process's environment. Variables whose names are not UTF-8 are left out: nobody asks for them.
    pub(crate) fn read() -> Self {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self {
            variables: variables.collect(),
            arguments: std::env::args_os().collect(),
            is_root: rustix::process::geteuid().is_root(),
            columns: rustix::termios::tcgetwinsize(rustix::stdio::stdout())
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|columns| *columns > 0),
        }
    }

    /// The value of a variable, if it is set and not empty.
    pub(crate) fn get_os(&self, name: &str) -> Option<&OsString> {
        self.variables.get(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable, if it is set, not empty and UTF-8.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.get_os(name)?.to_str()
    }

    /// The path in a variable, if it is set and not empty.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get_os(name).map(PathBuf::from)
    }

    /// All variables whose names begin with `prefix`, for the store's drivers.
    pub(crate) fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        let own = self.variables.iter().filter(|(name, _)| name.starts_with(prefix));
        own.filter_map(|(name, value)| Some((name.clone(), value.to_str()?.to_owned()))).collect()
    }

    /// How wide help texts are set.
    pub(crate) fn help_width(&self) -> usize {
        self.columns.unwrap_or(100).clamp(40, 110)
    }

    /// Whether `--json` was typed: needed when the arguments as a whole cannot be understood.
    pub(crate) fn asks_for_json(&self) -> bool {
        self.arguments.iter().skip(1).take_while(|argument| *argument != "--").any(|a| a == "--json")
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("Environment").field("variables", &names).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Environment {
    /// An environment with these variables and nothing else.
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        Self { variables: variables.collect(), ..Self::default() }
    }

    /// The same for root.
    pub(crate) fn for_root(self) -> Self {
        Self { is_root: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = Environment::of(&[("A", ""), ("B", "b")]);
        assert_eq!(environment.get("A"), None);
        assert_eq!(environment.get("B"), Some("b"));
    }

    #[test]
    fn debug_shows_no_values() {
        let environment = Environment::of(&[("SHUDAO_PASSWORD", "tiger")]);
        assert!(!format!("{environment:?}").contains("tiger"));
    }

    #[test]
    fn json_is_asked_for_only_before_a_double_dash() {
        let mut environment = Environment::default();
        let ask = |environment: &mut Environment, text: &str| {
            environment.arguments = text.split(' ').map(OsString::from).collect();
            environment.asks_for_json()
        };
        assert!(ask(&mut environment, "shudao ls --json"));
        assert!(!ask(&mut environment, "shudao backup --stdin-from-command -- x --json"));
    }
}
