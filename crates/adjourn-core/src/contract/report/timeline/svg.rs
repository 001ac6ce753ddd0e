//! The picture as SVG: the same rows, for a page.

use std::fmt::Write;
use std::time::Duration;

use super::{End, Row, Timeline, What, seconds, tick, ticks};
use crate::contract::columns;
use crate::contract::report::TaskKind;

/// All lengths are in pixels.
const WIDTH: u32 = 1000;
const MARGIN: u32 = 12;
/// Where the axis begins: names and times are left of it.
const LEFT: u32 = 380;
const RIGHT: u32 = WIDTH - 60;
const ROW: u32 = 22;
const TOP: u32 = 88;

/// Colors that are told apart in light and in dark, also by who does not see red and green.
const STYLE: &str = "\
text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#222}\
.page{fill:#fff}.dim{fill:#777}.title{font-size:14px;font-weight:bold}.line{stroke:#8884}\
.plain{fill:#888}.graceful{fill:#0072b2}.shielded{fill:#e69f00}.blocking{fill:#cc79a7}\
.scope{fill:#56b4e9}.hook{fill:#009e73}.ending{opacity:.4}.phase{fill:#8883}\
.mark{stroke:#222;stroke-width:2;fill:none}.failed{stroke:#d55e00}\
@media (prefers-color-scheme:dark){text{fill:#ddd}.page{fill:#161616}.dim{fill:#999}\
.mark{stroke:#ddd}.failed{stroke:#ff9a4d}}";

impl Timeline {
    /// Returns the picture as an SVG document. Names are escaped: whatever they have in them is text.
    pub fn to_svg(&self) -> String {
        let height = TOP + ROW * (self.rows.len() + self.more.len() + 2) as u32 + MARGIN;
        let mut svg = String::new();
        _ = self.write(&mut svg, height); // a string takes all
        svg
    }

    fn write(&self, svg: &mut String, height: u32) -> std::fmt::Result {
        let title = escaped(&self.title);
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>"
        )?;
        writeln!(svg, "<text class=\"title\" x=\"{MARGIN}\" y=\"28\">{title}</text>")?;
        let bottom = TOP + ROW * self.rows.len() as u32;
        for at in ticks(self.span, 8) {
            let x = self.x(at);
            writeln!(
                svg,
                "<line class=\"line\" x1=\"{x}\" x2=\"{x}\" y1=\"58\" y2=\"{bottom}\"/>"
            )?;
            writeln!(svg, "<text class=\"dim\" x=\"{x}\" y=\"52\">{}</text>", tick(at))?;
        }
        for (phase, from, to) in &self.phases {
            let (x, width) = self.stretch(*from, *to);
            let width = round((width - 2.0).max(1.0)); // a gap between them
            writeln!(
                svg,
                "<rect class=\"phase\" x=\"{x}\" y=\"60\" width=\"{width}\" height=\"18\"/>"
            )?;
            if width > 7.5 * phase.to_string().len() as f64 {
                writeln!(svg, "<text x=\"{:.1}\" y=\"73\">{phase}</text>", x + 4.0)?;
            }
        }
        let mut y = TOP;
        for row in &self.rows {
            self.row(svg, row, y)?;
            y += ROW;
        }
        for more in &self.more {
            let text = escaped(&columns::cut(more, 130));
            writeln!(svg, "<text class=\"dim\" x=\"{MARGIN}\" y=\"{}\">{text}</text>", y + 15)?;
            y += ROW;
        }
        legend(svg, y + ROW)?;
        svg.push_str("</svg>\n");
        Ok(())
    }

    fn row(&self, svg: &mut String, row: &Row, y: u32) -> std::fmt::Result {
        let name = escaped(&columns::cut(&row.name, 40));
        let place = row.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        let about = escaped(&format!("{} ({}{place})", row.name, row.about));
        let time = if row.end == End::NotOver { "not over".to_owned() } else { seconds(row.to) };
        let text = y + 15;
        writeln!(
            svg,
            "<g><title>{about}</title><text x=\"{MARGIN}\" y=\"{text}\">{name}</text>\
             <text class=\"dim\" text-anchor=\"end\" x=\"{}\" y=\"{text}\">{time}</text>",
            LEFT - 12
        )?;
        let class = class(row.what);
        let cancelled = row.cancelled.unwrap_or(row.to).clamp(row.from, row.to);
        for (from, to, class) in [
            (row.from, cancelled, class.to_owned()),
            (cancelled, row.to, format!("{class} ending")),
        ] {
            let (x, width) = self.stretch(from, to);
            if from < to {
                let y = y + 4;
                writeln!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"14\"/>"
                )?;
            }
        }
        let (x, up, middle, down) = (self.x(row.to), y + 4, y + 11, y + 18);
        let (left, right) = (x - 4.0, x + 4.0);
        let mark = match row.end {
            End::Ended => format!("M{x} {up}V{down}"),
            End::Cancelled | End::Failed => {
                format!(
                    "M{left} {}L{right} {}M{left} {}L{right} {}",
                    up + 3,
                    down - 3,
                    down - 3,
                    up + 3
                )
            }
            End::NotOver => format!("M{x} {up}L{:.1} {middle}L{x} {down}", x + 6.0),
        };
        let failed = if row.end == End::Failed { " failed" } else { "" };
        writeln!(svg, "<path class=\"mark{failed}\" d=\"{mark}\"/></g>")
    }

    /// Where a time is.
    fn x(&self, at: Duration) -> f64 {
        let part = at.as_secs_f64() / self.span.as_secs_f64();
        let part = if part.is_finite() { part } else { 0.0 };
        round(f64::from(LEFT) + part * f64::from(RIGHT - LEFT))
    }

    fn stretch(&self, from: Duration, to: Duration) -> (f64, f64) {
        let (from, to) = (self.x(from), self.x(to));
        (from, round((to - from).max(1.0)))
    }
}

fn legend(svg: &mut String, y: u32) -> std::fmt::Result {
    let kinds = [
        ("plain", "plain"),
        ("graceful", "graceful"),
        ("shielded", "shielded"),
        ("blocking", "blocking"),
        ("scope", "scope"),
        ("hook", "hook"),
        ("plain ending", "cancelled"),
    ];
    let mut x = MARGIN;
    for (class, text) in kinds {
        writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"14\" height=\"12\"/>\
             <text class=\"dim\" x=\"{}\" y=\"{y}\">{text}</text>",
            y - 10,
            x + 19
        )?;
        x += 36 + 8 * text.len() as u32;
    }
    let marks = "| ended  x cancelled (red: failed)  > not over";
    writeln!(
        svg,
        "<text class=\"dim\" text-anchor=\"end\" x=\"{}\" y=\"{y}\">{}</text>",
        WIDTH - MARGIN,
        escaped(marks)
    )
}

fn class(what: What) -> &'static str {
    match what {
        What::Scope => "scope",
        What::Hook => "hook",
        What::Task(TaskKind::Plain) => "plain",
        What::Task(TaskKind::Graceful) => "graceful",
        What::Task(TaskKind::Shielded) => "shielded",
        What::Task(TaskKind::Blocking) => "blocking",
    }
}

fn round(length: f64) -> f64 {
    (length * 10.0).round() / 10.0
}

/// Text of the user's as XML's character data: what has a meaning there is escaped, and what XML 1.0
/// does not have at all is replaced.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            character if character.is_control() => safe.push(' '),
            character => safe.push(character),
        }
    }
    safe
}
