//! Line charts as SVG: axes with round labels, any number of series, light and dark by the page's colours.

/// A line of a chart.
pub struct Series {
    /// For the legend.
    pub name: String,
    /// (x, y), in order of x.
    pub points: Vec<(f64, f64)>,
    /// CSS class: `a`, `b`, `c`.
    pub class: &'static str,
    /// Draw the points too.
    pub marked: bool,
}

/// Width and height of a chart in its own units.
const SIZE: (f64, f64) = (720.0, 300.0);
/// Room for labels: left, top, right, bottom.
const ROOM: (f64, f64, f64, f64) = (64.0, 28.0, 12.0, 40.0);
/// Points of a series at most; more are thinned, extremes kept.
const POINTS: usize = 800;

/// A chart. Series without finite points are left out; without any, it says so.
pub fn chart(title: &str, x_label: &str, series: &[Series]) -> String {
    let series: Vec<(&Series, Vec<(f64, f64)>)> =
        series.iter().map(|s| (s, thin(&s.points))).filter(|(_, points)| !points.is_empty()).collect();
    let (w, h) = SIZE;
    let mut out = format!("<svg viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{}\">", escape(title));
    out.push_str(&format!("<text class=\"title\" x=\"{}\" y=\"16\">{}</text>", ROOM.0, escape(title)));
    if series.is_empty() {
        out.push_str("<text x=\"80\" y=\"120\">nothing was measured</text></svg>");
        return out;
    }
    let all = || series.iter().flat_map(|(_, points)| points.iter());
    let bounds =
        |of: fn(&(f64, f64)) -> f64| all().fold((f64::MAX, f64::MIN), |(a, b), p| (a.min(of(p)), b.max(of(p))));
    let ((x0, x1), (y0, y1)) = (widen(bounds(|p| p.0)), widen(bounds(|p| p.1)));
    let x = |v: f64| ROOM.0 + (v - x0) / (x1 - x0) * (w - ROOM.0 - ROOM.2);
    let y = |v: f64| h - ROOM.3 - (v - y0) / (y1 - y0) * (h - ROOM.1 - ROOM.3);
    for (tick, label) in ticks(y0, y1) {
        let at = y(tick);
        out.push_str(&format!("<path class=\"grid\" d=\"M{} {at:.1}H{}\"/>", ROOM.0, w - ROOM.2));
        out.push_str(&format!("<text class=\"left\" x=\"{}\" y=\"{:.1}\">{label}</text>", ROOM.0 - 6.0, at + 4.0));
    }
    for (tick, label) in ticks(x0, x1) {
        let at = x(tick);
        out.push_str(&format!("<text class=\"under\" x=\"{at:.1}\" y=\"{}\">{label}</text>", h - ROOM.3 + 16.0));
    }
    out.push_str(&format!("<text class=\"under\" x=\"{}\" y=\"{}\">{}</text>", w / 2.0, h - 6.0, escape(x_label)));
    for (index, (s, points)) in series.iter().enumerate() {
        let mut path = String::new();
        for (i, &(px, py)) in points.iter().enumerate() {
            path.push_str(&format!("{}{:.1} {:.1}", if i == 0 { 'M' } else { 'L' }, x(px), y(py)));
        }
        out.push_str(&format!("<path class=\"line {}\" d=\"{path}\"/>", s.class));
        if s.marked {
            for &(px, py) in points {
                let (cx, cy, hover) = (x(px), y(py), format!("{}: {py:.4} at {px:.0}", s.name));
                let circle = format!("<circle class=\"{}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\">", s.class);
                out.push_str(&format!("{circle}<title>{}</title></circle>", escape(&hover)));
            }
        }
        let at = w - ROOM.2 - 150.0 * (series.len() - index) as f64;
        out.push_str(&format!("<path class=\"line {}\" d=\"M{at} 12h18\"/>", s.class));
        out.push_str(&format!("<text x=\"{}\" y=\"16\">{}</text>", at + 24.0, escape(&s.name)));
    }
    out.push_str("</svg>");
    out
}

/// Text for XML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// At most [`POINTS`] finite points: of each stretch its lowest and highest.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    if finite.len() <= POINTS {
        return finite;
    }
    let stretch = finite.len().div_ceil(POINTS / 2);
    let mut out = Vec::with_capacity(POINTS);
    for part in finite.chunks(stretch) {
        let low = part.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).expect("a chunk has points");
        let high = part.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).expect("a chunk has points");
        if low.0 <= high.0 { out.extend([low, high]) } else { out.extend([high, low]) }
    }
    out
}

/// A range that a constant fits into too: a tenth of its value on each side.
fn widen((low, high): (f64, f64)) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    match high - low > 1e-9 * size {
        true => (low, high),
        false if size == 0.0 => (-0.5, 0.5),
        false => (low - 0.1 * size, high + 0.1 * size),
    }
}

/// Four to nine round numbers in a range, with their labels.
fn ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).map(|value| (value, label(value, step))).collect()
}

/// As many digits as tell a tick from its neighbours, `step` away.
fn label(value: f64, step: f64) -> String {
    let place = |number: f64| (number.abs().log10() + 1e-9).floor() as i32;
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e6) {
        return format!("{value:.0$e}", (place(value) - place(step)).clamp(1, 12) as usize);
    }
    let digits = (-place(step)).clamp(0, 12) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_whole_and_escaped() {
        let points = (0..5000).map(|i| (f64::from(i), (f64::from(i) / 50.0).sin())).collect();
        let series = [Series { name: "a<b".into(), points, class: "a", marked: false }];
        let svg = chart("loss & more", "step", &series);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(svg.contains("a&lt;b") && svg.contains("loss &amp; more") && !svg.contains("NaN"));
        assert!(svg.len() < 40_000, "5000 points are thinned, got {} bytes", svg.len());
    }

    #[test]
    fn ticks_are_round() {
        let labels = |low, high| ticks(low, high).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(0.0, 120.0), ["0", "20", "40", "60", "80", "100", "120"]);
        assert_eq!(labels(1e6, 1.2e6), ["1.00e6", "1.05e6", "1.10e6", "1.15e6", "1.20e6"]);
    }

    /// A constant is seen as one: the axis lies around it, and each tick has a label of its own.
    #[test]
    fn a_constant_has_an_axis_of_its_size() {
        for value in [1e-3, 2.5e-4, 1.0, -3.0, 40_000.0, 0.0] {
            let (low, high) = widen((value, value));
            assert!(low < value && value < high, "{value}: {low} to {high}");
            assert!(value == 0.0 || high - low <= 0.21 * value.abs(), "{value}: {low} to {high}");
            let mut labels: Vec<String> = ticks(low, high).into_iter().map(|(_, label)| label).collect();
            let count = labels.len();
            labels.dedup();
            assert!(count >= 3 && labels.len() == count, "{value}: {labels:?}");
        }
    }
}
