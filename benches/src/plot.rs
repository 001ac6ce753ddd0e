//! Line charts with logarithmic axes, as SVG that follows a light or dark page.

use std::fmt::Write;
use std::iter::repeat;

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name, at its right end.
    pub name: String,
    /// Its points, both coordinates above zero.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// What the horizontal axis counts.
    pub across: String,
    /// The unit of the vertical axis.
    pub up: String,
    /// The lines; the first, ours, is drawn stronger.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Light and dark; a page's reader has one of them.
const STYLE: &str = "\
text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.grid{stroke:#ddd}.line{fill:none;stroke-width:1.5}\
.a{stroke:#d4380d;stroke-width:3}.b{stroke:#555}.c{stroke:#1677ff}.d{stroke:#389e0d}\
.e{stroke:#722ed1}.f{stroke:#c41d7f}.g{stroke:#08979c}.h{stroke:#ad8b00}\
.i{stroke:#888;stroke-dasharray:4 3}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}.a{stroke:#ff7a45}\
.b{stroke:#bbb}.c{stroke:#69b1ff}.d{stroke:#95de64}.e{stroke:#b37feb}.f{stroke:#ff85c0}\
.g{stroke:#5cdbd3}.h{stroke:#ffd666}}";

/// A logarithmic axis from one whole power of ten to another.
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Axis {
        let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor() as i32;
        let high = values.fold(0.0, f64::max).log10().ceil() as i32;
        Axis { low, high: high.max(low + 1), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let span = f64::from(self.high - self.low);
        self.from + (self.to - self.from) * (value.log10() - f64::from(self.low)) / span
    }
}

fn label(power: i32) -> String {
    match power {
        6.. => format!("{}M", 10f64.powi(power - 6)),
        3..6 => format!("{}k", 10f64.powi(power - 3)),
        _ => format!("{}", 10f64.powi(power)),
    }
}

impl Chart {
    /// Returns the chart as the text of an SVG file.
    pub fn to_svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let x = Axis::over(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::over(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\"><title>{0}</title><style>{STYLE}</style>\n\
             <text x=\"{LEFT}\" y=\"20\" class=\"title\">{0}</text>\n",
            self.title
        );
        for power in x.low..=x.high {
            let at = x.place(10f64.powi(power));
            _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{at:.0} {TOP}V{0}\"/>\
                 <text x=\"{at:.0}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0,
                label(power)
            );
        }
        for power in y.low..=y.high {
            let at = y.place(10f64.powi(power));
            _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.0}H{0}\"/>\
                 <text x=\"{1}\" y=\"{2:.0}\" text-anchor=\"end\">{3}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                label(power)
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{LEFT}\" y=\"34\">{}</text>",
            HEIGHT - 12.0,
            self.across,
            self.up
        );
        let mut names: Vec<(f64, char, &str)> = Vec::new();
        for (line, class) in self.lines.iter().zip(('a'..='i').chain(repeat('i'))) {
            let mut path = String::new();
            for (across, up) in &line.points {
                let step = if path.is_empty() { 'M' } else { 'L' };
                _ = write!(path, "{step}{:.1} {:.1}", x.place(*across), y.place(*up));
            }
            _ = writeln!(svg, "<path class=\"line {class}\" d=\"{path}\"/>");
            if let Some((_, up)) = line.points.last() {
                names.push((y.place(*up), class, &line.name));
            }
        }
        // Names beside the ends of their lines, moved apart where these meet.
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut above = f64::NEG_INFINITY;
        for (at, class, name) in names {
            let at = at.max(above + 15.0);
            above = at;
            let left = WIDTH - RIGHT + 8.0;
            _ = writeln!(
                svg,
                "<path class=\"line {class}\" d=\"M{left} {at:.0}h16\"/>\
                 <text x=\"{0}\" y=\"{1:.0}\">{name}</text>",
                left + 22.0,
                at + 4.0
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::{Axis, Chart, Line, label};

    #[test]
    fn an_axis_covers_its_values_in_whole_powers() {
        let axis = Axis::over([20.0, 3_000.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.low, axis.high), (1, 4));
        assert_eq!(axis.place(100.0).round(), 100.0);
        let one = Axis::over([10.0].into_iter(), 0.0, 1.0);
        assert!(one.high > one.low, "one value needs a width too");
    }

    #[test]
    fn a_chart_has_a_path_and_a_name_for_each_line() {
        let line =
            |name: &str| Line { name: name.to_owned(), points: vec![(1.0, 5.0), (9.0, 7.0)] };
        let chart = Chart {
            title: "t".to_owned(),
            across: "n".to_owned(),
            up: "ns".to_owned(),
            lines: vec![line("one"), line("two")],
        };
        let svg = chart.to_svg();
        assert_eq!(svg.matches("<path class=\"line a\"").count(), 2); // itself and its key
        assert!(svg.contains(">one<") && svg.contains(">two<") && !svg.contains("NaN"));
    }

    #[test]
    fn only_the_first_line_is_drawn_as_ours() {
        let line = Line { name: "x".to_owned(), points: vec![(1.0, 1.0)] };
        let [title, across, up] = ["t", "n", "ns"].map(str::to_owned);
        let svg = Chart { title, across, up, lines: vec![line; 12] }.to_svg();
        assert_eq!(svg.matches("class=\"line a\"").count(), 2);
    }

    #[test]
    fn powers_are_written_short() {
        assert_eq!([-1, 2, 3, 5, 6].map(label), ["0.1", "100", "1k", "100k", "1M"]);
    }
}
