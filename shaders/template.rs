//! Expands kernel text: imports, constants, loops. (WGSL has no generics, so tiles are text.)
//!
//! A line whose first characters are `//%` is a directive; every other line is text, in which `{{EXPR}}` is replaced by
//! the value of the expression.
//! ```text
//! //% import NAME        the text of shared/NAME.wgsl, once per expansion
//! //% let NAME = EXPR    a name for the rest of the block
//! //% for NAME in A..B   the lines up to the matching `end`, for NAME = A, A + 1, ... B - 1
//! //% if EXPR            the lines up to `else`, `elif EXPR` or `end`, if EXPR is not 0
//! ```
//! Expressions are integers: names, decimal numbers, `+ - * / %`, comparisons (1 or 0), `&& || !`, parentheses. A
//! mistake
//! in a template is a mistake of ours: expansion panics with the line.

use crate::spec::Kernel;

/// Texts that kernels may import, by name.
pub const SNIPPETS: &[(&str, &str)] = &[
    ("activation", include_str!("shared/activation.wgsl")),
    ("attention", include_str!("shared/attention.wgsl")),
    ("grid", include_str!("shared/grid.wgsl")),
    ("lanes", include_str!("shared/lanes.wgsl")),
    ("rng", include_str!("shared/rng.wgsl")),
    ("row_sum", include_str!("shared/row_sum.wgsl")),
    ("tick", include_str!("shared/tick.wgsl")),
];

/// The WGSL of a template under the given variables.
pub fn expand(source: &str, defines: &[(&str, u32)]) -> String {
    let vars = defines.iter().map(|&(name, value)| (name.to_string(), i64::from(value))).collect();
    let mut state = Expansion { vars, imported: Vec::new(), out: String::with_capacity(source.len() * 2) };
    state.text("kernel", source);
    state.out
}

/// The WGSL of a kernel: its default variables, replaced where `chosen` says so.
pub fn kernel_text(kernel: &Kernel, chosen: &[(&str, u32)]) -> String {
    for (name, _) in chosen {
        assert!(kernel.defines.iter().any(|(known, _)| known == name), "{} has no variable {name}", kernel.name);
    }
    let value = |name: &str, default: u32| chosen.iter().find(|(n, _)| *n == name).map_or(default, |c| c.1);
    let all: Vec<(&str, u32)> = kernel.defines.iter().map(|&(name, values)| (name, value(name, values[0]))).collect();
    expand(kernel.source, &all)
}

/// A line and where it stands.
#[derive(Clone, Copy)]
struct Line<'a> {
    file: &'a str,
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// The directive, without its mark.
    fn directive(&self) -> Option<&'a str> {
        self.text.trim_start().strip_prefix("//%").map(str::trim)
    }
    fn fail(&self, what: &str) -> ! {
        panic!("template {} line {}: {what}: {}", self.file, self.number, self.text.trim())
    }
}

struct Expansion {
    vars: Vec<(String, i64)>,
    imported: Vec<String>,
    out: String,
}

impl Expansion {
    fn text(&mut self, file: &str, source: &str) {
        let lines: Vec<Line<'_>> =
            source.lines().enumerate().map(|(i, text)| Line { file, number: i + 1, text }).collect();
        self.block(&lines);
    }

    /// Expands whole lines; names introduced inside are forgotten at the end.
    fn block(&mut self, lines: &[Line<'_>]) {
        let known = self.vars.len();
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            let Some(directive) = line.directive() else {
                self.substitute(line);
                at += 1;
                continue;
            };
            let (verb, rest) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
            let rest = rest.trim();
            match verb {
                "import" => self.import(line, rest),
                "let" => {
                    let Some((name, value)) = rest.split_once('=') else { line.fail("expected NAME = EXPR") };
                    let value = self.value(line, value);
                    self.vars.push((name.trim().to_string(), value));
                }
                "for" => {
                    let end = matching(lines, at).1;
                    self.repeat(line, rest, &lines[at + 1..end]);
                    at = end;
                }
                "if" => at = self.choose(lines, at, rest),
                _ => line.fail("unknown directive"),
            }
            at += 1;
        }
        self.vars.truncate(known);
    }

    fn import(&mut self, line: Line<'_>, name: &str) {
        if self.imported.iter().any(|seen| seen == name) {
            return;
        }
        self.imported.push(name.to_string());
        let Some((file, source)) = SNIPPETS.iter().find(|(known, _)| *known == name) else {
            line.fail("no such snippet")
        };
        self.text(file, source);
    }

    fn repeat(&mut self, line: Line<'_>, head: &str, body: &[Line<'_>]) {
        let Some((name, range)) = head.split_once(" in ") else { line.fail("expected NAME in A..B") };
        let Some((from, to)) = range.split_once("..") else { line.fail("expected A..B") };
        let (from, to) = (self.value(line, from), self.value(line, to));
        for value in from..to {
            self.vars.push((name.trim().to_string(), value));
            self.block(body);
            self.vars.pop();
        }
    }

    /// Expands the branch that holds; returns the index of the `end`.
    fn choose(&mut self, lines: &[Line<'_>], start: usize, condition: &str) -> usize {
        let (mut marks, end) = matching(lines, start);
        marks.insert(0, start);
        marks.push(end);
        for pair in marks.windows(2) {
            let line = lines[pair[0]];
            let head = line.directive().unwrap_or("");
            let holds = match head.split_once(char::is_whitespace) {
                _ if head == "else" => true,
                _ if pair[0] == start => self.value(line, condition) != 0,
                Some(("elif", condition)) => self.value(line, condition) != 0,
                _ => line.fail("expected else or elif EXPR"),
            };
            if holds {
                self.block(&lines[pair[0] + 1..pair[1]]);
                break;
            }
        }
        end
    }

    fn substitute(&mut self, line: Line<'_>) {
        let mut rest = line.text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((expr, tail)) = after.split_once("}}") else { line.fail("{{ without }}") };
            self.out.push_str(before);
            let value = self.value(line, expr);
            self.out.push_str(&value.to_string());
            rest = tail;
        }
        self.out.push_str(rest);
        self.out.push('\n');
    }

    fn value(&self, line: Line<'_>, expr: &str) -> i64 {
        let mut parser = Parser { tokens: tokens(line, expr), at: 0, vars: &self.vars, line };
        let value = parser.binary(0);
        if parser.at != parser.tokens.len() {
            line.fail("words after the expression");
        }
        value
    }
}

/// The `else`/`elif` marks of the block that starts at `start`, and its `end`.
fn matching(lines: &[Line<'_>], start: usize) -> (Vec<usize>, usize) {
    let (mut depth, mut marks) = (0, Vec::new());
    for (at, line) in lines.iter().enumerate().skip(start) {
        match line.directive().and_then(|d| d.split_whitespace().next()) {
            Some("for" | "if") => depth += 1,
            Some("else" | "elif") if depth == 1 => marks.push(at),
            Some("end") => {
                depth -= 1;
                if depth == 0 {
                    return (marks, at);
                }
            }
            _ => {}
        }
    }
    lines[start].fail("no matching end")
}

fn tokens<'a>(line: Line<'_>, expr: &'a str) -> Vec<&'a str> {
    let mut out = Vec::new();
    let mut rest = expr.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let len = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else if ["==", "!=", "<=", ">=", "&&", "||"].iter().any(|two| rest.starts_with(two)) {
            2
        } else if first.is_ascii() {
            1
        } else {
            line.fail("not ASCII")
        };
        out.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    out
}

struct Parser<'a> {
    tokens: Vec<&'a str>,
    at: usize,
    vars: &'a [(String, i64)],
    line: Line<'a>,
}

/// Binary operators by rising precedence.
const LEVELS: &[&[&str]] = &[&["||"], &["&&"], &["==", "!=", "<", "<=", ">", ">="], &["+", "-"], &["*", "/", "%"]];

impl Parser<'_> {
    fn next(&mut self) -> &str {
        let token = self.tokens.get(self.at).copied().unwrap_or_else(|| self.line.fail("expression ends early"));
        self.at += 1;
        token
    }

    fn binary(&mut self, level: usize) -> i64 {
        if level == LEVELS.len() {
            return self.unary();
        }
        let mut left = self.binary(level + 1);
        while let Some(&operator) = self.tokens.get(self.at).filter(|token| LEVELS[level].contains(token)) {
            self.at += 1;
            let right = self.binary(level + 1);
            left = match operator {
                "||" => i64::from(left != 0 || right != 0),
                "&&" => i64::from(left != 0 && right != 0),
                "==" => i64::from(left == right),
                "!=" => i64::from(left != right),
                "<" => i64::from(left < right),
                "<=" => i64::from(left <= right),
                ">" => i64::from(left > right),
                ">=" => i64::from(left >= right),
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                _ if right == 0 => self.line.fail("division by zero"),
                "/" => left / right,
                _ => left % right,
            };
        }
        left
    }

    fn unary(&mut self) -> i64 {
        let line = self.line;
        match self.next() {
            "!" => i64::from(self.unary() == 0),
            "-" => -self.unary(),
            "(" => {
                let value = self.binary(0);
                if self.next() != ")" {
                    line.fail("expected )");
                }
                value
            }
            token => {
                let token = token.to_string();
                if let Ok(number) = token.parse() {
                    return number;
                }
                let found = self.vars.iter().rev().find(|(name, _)| *name == token);
                found.map_or_else(|| line.fail("unknown name or number"), |(_, value)| *value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn loops_nest_and_substitute() {
        let text = "//% for i in 0..2\n//% for j in i..2\nvar a{{i}}_{{j}} = {{i*4+j}};\n//% end\n//% end\nend";
        assert_eq!(expand(text, &[]), "var a0_0 = 0;\nvar a0_1 = 1;\nvar a1_1 = 5;\nend\n");
    }

    #[test]
    fn branches_choose_by_defines() {
        let text = "//% if MODE == 0\nzero\n//% elif MODE == 1 && !(WIDE < 4)\none\n//% else\nother\n//% end\nafter";
        assert_eq!(expand(text, &[("MODE", 0), ("WIDE", 4)]), "zero\nafter\n");
        assert_eq!(expand(text, &[("MODE", 1), ("WIDE", 4)]), "one\nafter\n");
        assert_eq!(expand(text, &[("MODE", 1), ("WIDE", 3)]), "other\nafter\n");
        assert_eq!(expand(text, &[("MODE", 7), ("WIDE", 3)]), "other\nafter\n");
    }

    #[test]
    fn arithmetic_follows_precedence() {
        assert_eq!(expand("{{1+2*3}} {{(1+2)*3}} {{7/2}} {{7%4}} {{10-3-2}} {{-2+5}} {{1<2}}", &[]), "7 9 3 3 5 3 1\n");
    }

    #[test]
    fn names_end_with_their_block() {
        let text = "//% let T = N*2\n//% if 1\n//% let T = T+1\n{{T}}\n//% end\n{{T}}";
        assert_eq!(expand(text, &[("N", 4)]), "9\n8\n");
    }

    #[test]
    fn imports_come_once() {
        let text = "//% import tick\n//% import tick";
        assert_eq!(expand(text, &[]).matches("struct Tick").count(), 1);
    }

    #[test]
    #[should_panic(expected = "line 2: unknown name or number")]
    fn an_unknown_name_panics_with_its_line() {
        expand("fine\n{{NOPE}}", &[]);
    }

    #[test]
    #[should_panic(expected = "line 1: no matching end")]
    fn an_open_block_panics() {
        expand("//% for i in 0..2\nx", &[]);
    }

    #[test]
    #[should_panic(expected = "line 1: no such snippet")]
    fn an_unknown_import_panics() {
        expand("//% import nothing", &[]);
    }
}
