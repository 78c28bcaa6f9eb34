//! Numbers in words: durations, counts, bytes.

/// `1h 02m`, `3m 20s`, `12 s`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".into();
    }
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// `812`, `12.3 k`, `4.56 M`.
pub fn count(n: f64) -> String {
    scaled(n, 1000.0, &["", " k", " M", " G", " T"])
}

/// `812 B`, `12.3 KiB`, `4.56 MiB`.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

/// A word as a shell takes it: quoted where it has to be.
pub fn shell(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-/:=,+@%".contains(c) || c == std::path::MAIN_SEPARATOR;
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn scaled(mut n: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while n.abs() >= step && unit + 1 < units.len() {
        n /= step;
        unit += 1;
    }
    let digits = if unit == 0 || n.abs() >= 100.0 {
        0
    } else if n.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{n:.digits$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_read_well() {
        assert_eq!(super::duration(3725.0), "1h 02m");
        assert_eq!(super::count(12_345.0), "12.3 k");
        assert_eq!(super::bytes(5 << 20), "5.00 MiB");
        assert_eq!(super::duration(f64::NAN), "?");
    }

    #[test]
    fn a_shell_reads_its_words_back() {
        assert_eq!(super::shell("runs/demo-a"), "runs/demo-a");
        assert_eq!(super::shell("my garden/pleach.toml"), "'my garden/pleach.toml'");
        assert_eq!(super::shell("it's *"), "'it'\\''s *'");
        assert_eq!(super::shell(""), "''");
    }
}
