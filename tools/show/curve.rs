//! A loss curve in the terminal: braille dots, labelled axes, nothing but text.

/// Columns and rows of characters of the plot's inside.
const SIZE: (usize, usize) = (64, 12);

/// Draws (x, y) points as lines of text; evaluation points are marked `o`. Empty input gives an empty drawing.
pub fn draw(points: &[(f64, f64)], marks: &[(f64, f64)], title: &str) -> String {
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let all = || finite.iter().chain(marks);
    let (Some(first), Some(last)) = (finite.first(), finite.last()) else { return String::new() };
    let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), &(_, y)| (low.min(y), high.max(y)));
    let (low, high) = if high - low < 1e-9 { (low - 0.5, high + 0.5) } else { (low, high) };
    let (left, right) = (first.0, last.0.max(first.0 + 1e-9));
    let (columns, rows) = SIZE;
    let place = |x: f64, y: f64, w: usize, h: usize| {
        let column = ((x - left) / (right - left) * (w - 1) as f64).round().clamp(0.0, (w - 1) as f64) as usize;
        let row = ((high - y) / (high - low) * (h - 1) as f64).round().clamp(0.0, (h - 1) as f64) as usize;
        (column, row)
    };
    let mut dots = vec![0u8; columns * rows];
    for &(x, y) in &finite {
        let (column, row) = place(x, y, 2 * columns, 4 * rows);
        dots[row / 4 * columns + column / 2] |= BRAILLE[row % 4][column % 2];
    }
    let mut grid: Vec<char> =
        dots.iter().map(|&d| if d == 0 { ' ' } else { char::from_u32(0x2800 + u32::from(d)).unwrap_or('.') }).collect();
    for &(x, y) in marks {
        let (column, row) = place(x, y, columns, rows);
        grid[row * columns + column] = 'o';
    }
    let mut out = format!("{title}\n");
    for row in 0..rows {
        let y = high - (high - low) * row as f64 / (rows - 1) as f64;
        let label = if row % 3 == 0 || row == rows - 1 { format!("{y:8.3}") } else { " ".repeat(8) };
        let line: String = grid[row * columns..(row + 1) * columns].iter().collect();
        out.push_str(&format!("{label} |{}\n", line.trim_end()));
    }
    out.push_str(&format!("{} +{}\n", " ".repeat(8), "-".repeat(columns)));
    let (from, to) = (format!("{left:.0}"), format!("step {right:.0}"));
    let gap = columns.saturating_sub(from.len() + to.len());
    out.push_str(&format!("{}  {from}{}{to}\n", " ".repeat(8), " ".repeat(gap)));
    out
}

/// Bits of the braille dots by row and column.
const BRAILLE: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

#[cfg(test)]
mod tests {
    #[test]
    fn a_falling_curve_falls() {
        let points: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i), 4.0 - 0.02 * f64::from(i))).collect();
        let drawing = super::draw(&points, &[(99.0, 2.5)], "loss");
        let lines: Vec<&str> = drawing.lines().collect();
        assert!(lines[1].contains("4.000") && drawing.contains('o'));
        let column = |line: &str| line.chars().position(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
        assert!(column(lines[2]) < column(lines[10]), "{drawing}");
        assert_eq!(super::draw(&[], &[], "loss"), "");
    }
}
