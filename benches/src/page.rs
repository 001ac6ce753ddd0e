//! The generated parts of a page: each between two comments, rewritten as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Parts by name, to be printed and, if asked, written into docs/performance.md.
#[derive(Debug, Default)]
pub struct Page {
    parts: Vec<(String, String)>,
    plots: Vec<(String, String)>,
}

impl Page {
    /// Adds a part and prints it.
    pub fn add(&mut self, name: &str, text: String) {
        println!("\n{text}");
        self.parts.push((name.to_owned(), text));
    }

    /// Adds a plot, a file of docs/performance/.
    pub fn plot(&mut self, name: &str, svg: String) {
        self.plots.push((format!("{name}.svg"), svg));
    }

    /// Writes the parts into the page and the plots beside it.
    ///
    /// # Errors
    ///
    /// When a file cannot be written, or the page has no place for a part.
    pub fn write(&self) -> io::Result<()> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let page: PathBuf = docs.join("performance.md");
        let mut text = fs::read_to_string(&page)?;
        for (name, part) in &self.parts {
            text = replace(&text, name, part).ok_or_else(|| {
                io::Error::other(format!("{} has no part {name}", page.display()))
            })?;
        }
        fs::write(&page, text)?;
        fs::create_dir_all(docs.join("performance"))?;
        for (name, svg) in &self.plots {
            fs::write(docs.join("performance").join(name), svg)?;
        }
        Ok(())
    }
}

/// Returns `page` with what is between the comments of part `name` replaced.
fn replace(page: &str, name: &str, part: &str) -> Option<String> {
    let begin = format!("<!-- generated: {name} -->\n");
    let end = "<!-- end -->";
    let from = page.find(&begin)? + begin.len();
    let to = from + page[from..].find(end)?;
    Some(format!("{}\n{}\n\n{}", &page[..from], part.trim(), &page[to..]))
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn only_the_named_part_is_replaced_and_twice_is_the_same() {
        let page = "a\n<!-- generated: one -->\nold\n<!-- end -->\nb\n\
                    <!-- generated: two -->\nkept\n<!-- end -->\n";
        let once = replace(page, "one", "new\n").expect("it has that part");
        assert!(once.contains("\nnew\n") && once.contains("kept") && !once.contains("old"));
        assert_eq!(replace(&once, "one", "new"), Some(once.clone()));
        assert_eq!(replace(page, "three", "x"), None);
    }
}
