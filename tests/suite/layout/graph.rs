//! Which source file uses which: paths in `use` statements and in code, followed to the file that defines what they name.
//!
//! A module that only declares a child (`mod child;`) or hands out the child's items (`pub use child::Item`) does not use
//! it; everything else is a use. So a child may use items of its parent's file as long as the parent does nothing with the
//! child but hand it out.

use std::collections::{BTreeMap, BTreeSet};

/// A module path below the crate: `["data", "batch"]`.
type Module = Vec<String>;

/// A path that a file names, or a name that a `use` statement brings in.
#[derive(Clone, Debug, PartialEq)]
struct Import {
    /// Name under which it is known in the file; `*` for everything.
    name: String,
    /// Where it is, from the crate's root.
    path: Module,
    /// Whether the file hands it out.
    public: bool,
}

#[derive(Debug, Default)]
struct File {
    module: Module,
    /// Names of the items that it defines.
    defines: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths in code, as they are written, with the modules that they start from.
    paths: Vec<Module>,
}

/// The files below `src`, by name.
pub struct Graph {
    files: BTreeMap<String, File>,
    modules: BTreeMap<Module, Vec<String>>,
}

/// Splits code into words and signs, without comments, strings and characters.
fn tokens(code: &str) -> Vec<String> {
    let bytes: Vec<char> = code.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while at < bytes.len() {
        let next = bytes.get(at + 1).copied().unwrap_or(' ');
        match bytes[at] {
            '/' if next == '/' => at += bytes[at..].iter().take_while(|&&c| c != '\n').count(),
            '"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != '"' {
                    at += if bytes[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            }
            // A character; anything else behind this sign is a lifetime.
            '\'' if next == '\\' => at += 3 + bytes[at + 3..].iter().take_while(|&&c| c != '\'').count() + 1,
            '\'' if bytes.get(at + 2) == Some(&'\'') => at += 3,
            'r' if next == '"' || (next == '#' && matches!(bytes.get(at + 2), Some('"' | '#'))) => {
                let signs = bytes[at + 1..].iter().take_while(|&&c| c == '#').count();
                let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', signs)).collect();
                let begin = at + 2 + signs;
                let length = bytes[begin..].windows(end.len()).position(|part| part == end).unwrap_or(0);
                at = begin + length + end.len();
            }
            c if is_word(c) => {
                let length = bytes[at..].iter().take_while(|&&c| is_word(c)).count();
                found.push(bytes[at..at + length].iter().collect());
                at += length;
            }
            ':' if next == ':' => {
                found.push("::".into());
                at += 2;
            }
            c => {
                if !c.is_whitespace() {
                    found.push(c.into());
                }
                at += 1;
            }
        }
    }
    found
}

/// Reads the tree of a `use` statement from `at` on, behind `prefix`: each path with its name. Returns where it ends.
fn tree(tokens: &[String], mut at: usize, prefix: &[String], found: &mut Vec<(String, Module)>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens[at].as_str() {
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = tree(tokens, at, &path, found);
                    at += usize::from(tokens[at] == ",");
                }
                return at + 1;
            }
            "*" => {
                found.push(("*".into(), path));
                return at + 1;
            }
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
        match tokens[at + 1].as_str() {
            "::" => at += 2,
            "as" => {
                found.push((tokens[at + 2].clone(), path));
                return at + 3;
            }
            _ => {
                found.push((path.last().cloned().unwrap_or_default(), path));
                return at + 1;
            }
        }
    }
}

impl File {
    /// Reads the file of `module`, whose children are `children`.
    fn read(module: Module, code: &str, children: &BTreeSet<String>) -> Self {
        let tokens = tokens(code);
        let mut file = Self { module, ..Self::default() };
        // Modules within the file: the depth of braces at which each begins.
        let (mut depth, mut inner) = (0, Vec::new());
        let mut at = 0;
        while at < tokens.len() {
            let word = tokens[at].as_str();
            let before = if at > 0 { tokens[at - 1].as_str() } else { "" };
            match word {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inner.retain(|&begun| begun <= depth);
                }
                "mod" if tokens.get(at + 2).is_some_and(|sign| sign == "{") => {
                    inner.push(depth + 1);
                    file.defines.insert(tokens[at + 1].clone());
                }
                "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "union" => {
                    file.defines.extend(tokens.get(at + 1).cloned());
                }
                "macro_rules" => file.defines.extend(tokens.get(at + 2).cloned()),
                "use" => {
                    let public = before == "pub" || before == ")";
                    let mut named = Vec::new();
                    at = tree(&tokens, at + 1, &[], &mut named);
                    for (name, path) in named {
                        if let Some(path) = file.absolute(&path, inner.len(), children) {
                            file.imports.push(Import { name, path, public });
                        }
                    }
                    continue;
                }
                _ => {}
            }
            // The name of a method is no path, but what follows a range may be one.
            let method = before == "." && (at < 2 || tokens[at - 2] != ".");
            let starts = word.starts_with(|c: char| c.is_alphabetic() || c == '_') && before != "::" && !method;
            if starts && tokens.get(at + 1).is_some_and(|sign| sign == "::") {
                let mut path = vec![word.to_owned()];
                while tokens.get(at + 1).is_some_and(|sign| sign == "::")
                    && tokens.get(at + 2).is_some_and(|next| next.starts_with(|c: char| c.is_alphabetic() || c == '_'))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                let alias = file.imports.iter().find(|import| import.name == path[0]).map(|import| import.path.clone());
                let path = match alias {
                    Some(alias) => Some([&alias[..], &path[1..]].concat()),
                    None => file.absolute(&path, inner.len(), children),
                };
                file.paths.extend(path);
            }
            at += 1;
        }
        file
    }

    /// A path from the crate's root; `None` for one of another crate, or of this file itself.
    fn absolute(&self, path: &[String], inner: usize, children: &BTreeSet<String>) -> Option<Module> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        match path[0].as_str() {
            "crate" => Some(path[1..].to_vec()),
            "super" => {
                // From within a module of the file the first steps up stay in it.
                let up = supers.saturating_sub(inner);
                Some([&self.module[..self.module.len().checked_sub(up)?], &path[supers..]].concat())
            }
            "self" => Some([&self.module, &path[1..]].concat()),
            first if children.contains(first) => Some([&self.module, path].concat()),
            _ => None,
        }
    }
}

impl Graph {
    /// Reads files: each with its name below `src` and its code.
    pub fn new(sources: &[(String, String)]) -> Self {
        let module_of = |name: &str| -> Module {
            let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
            if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
        };
        // `#[path = "file.rs"] mod name;` gives a file another name.
        let mut renamed: BTreeMap<String, Module> = BTreeMap::new();
        for (name, code) in sources {
            for (at, _) in code.match_indices("#[path = \"") {
                let rest = &code[at + "#[path = \"".len()..];
                let (file, rest) = rest.split_once('"').expect("an attribute has an end");
                let declared = rest.split_once("mod ").expect("a module").1.split(';').next().unwrap_or_default();
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                renamed.insert(format!("{folder}/{file}"), [module_of(name), vec![declared.to_owned()]].concat());
            }
        }
        let mut modules: BTreeMap<Module, Vec<String>> = BTreeMap::new();
        for (name, _) in sources.iter().filter(|(name, _)| name != "main.rs") {
            let module = renamed.get(name).cloned().unwrap_or_else(|| module_of(name));
            modules.entry(module).or_default().push(name.clone());
        }
        let mut files = BTreeMap::new();
        for (module, names) in &modules {
            let children = modules.keys().filter(|child| child.len() == module.len() + 1 && child.starts_with(module));
            let children: BTreeSet<String> = children.filter_map(|child| child.last().cloned()).collect();
            for name in names {
                let code = &sources.iter().find(|(other, _)| other == name).expect("it is there").1;
                files.insert(name.clone(), File::read(module.clone(), code, &children));
            }
        }
        Self { files, modules }
    }

    /// The files that define what a path names: none where it names only a module.
    fn definers(&self, path: &[String], seen: &mut BTreeSet<Module>) -> Vec<String> {
        if !seen.insert(path.to_vec()) {
            return Vec::new();
        }
        let Some(length) = (0..=path.len()).rev().find(|&length| self.modules.contains_key(&path[..length])) else {
            return Vec::new();
        };
        let Some(item) = path.get(length) else { return Vec::new() };
        let names = &self.modules[&path[..length]];
        let all: Vec<&File> = names.iter().map(|name| &self.files[name]).collect();
        if all.iter().any(|file| file.defines.contains(item)) {
            return names.clone();
        }
        for import in all.iter().flat_map(|file| &file.imports).filter(|import| import.name == *item) {
            let found = self.definers(&[&import.path[..], &path[length + 1..]].concat(), seen);
            if !found.is_empty() {
                return found;
            }
        }
        for import in all.iter().flat_map(|file| &file.imports).filter(|import| import.name == "*") {
            let found = self.definers(&[&import.path[..], &path[length..]].concat(), seen);
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// The files that a file uses.
    pub fn uses(&self, name: &str) -> BTreeSet<String> {
        let file = &self.files[name];
        let handed_out = |import: &Import| {
            import.public && import.path.len() > file.module.len() && import.path.starts_with(&file.module)
        };
        let imports = file.imports.iter().filter(|import| import.name != "*" && !handed_out(import));
        let paths = imports.map(|import| &import.path).chain(&file.paths);
        let mut used: BTreeSet<String> = BTreeSet::new();
        for path in paths {
            used.extend(self.definers(path, &mut BTreeSet::new()));
        }
        used.remove(name);
        used
    }

    /// Circles of files that use each other: each as files in order, the first of them again at the end.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let uses: BTreeMap<&str, BTreeSet<String>> =
            self.files.keys().map(|name| (name.as_str(), self.uses(name))).collect();
        let mut circles: Vec<Vec<String>> = Vec::new();
        for start in self.files.keys() {
            // The shortest way back to where it began.
            let mut ways = std::collections::VecDeque::from([vec![start.clone()]]);
            let mut reached = BTreeSet::new();
            while let Some(way) = ways.pop_front() {
                let last = way.last().expect("a way has a beginning");
                if way.len() > 1 && last == start {
                    if !circles
                        .iter()
                        .any(|known| known.len() == way.len() && way.iter().all(|name| known.contains(name)))
                    {
                        circles.push(way);
                    }
                    break;
                }
                for next in &uses[last.as_str()] {
                    if next == start || reached.insert(next.clone()) {
                        ways.push_back([&way[..], std::slice::from_ref(next)].concat());
                    }
                }
            }
        }
        circles
    }
}
