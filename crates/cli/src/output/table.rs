//! Tables without lines: a header, columns two spaces apart, colours by meaning.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use ringfence_model::bytes::visible;

use super::style::{Paint, Style};

/// One cell: text from anywhere (made visible here) and what its colour means.
#[derive(Debug, Clone)]
pub struct Entry {
    text: String,
    paint: Option<Paint>,
}

/// Plain text.
pub fn text(text: impl AsRef<str>) -> Entry {
    Entry { text: visible(text.as_ref()), paint: None }
}

/// Text with a meaning.
pub fn painted(paint: Paint, text: impl AsRef<str>) -> Entry {
    Entry { text: visible(text.as_ref()), paint: Some(paint) }
}

/// Something that may be absent.
pub fn maybe(value: Option<impl AsRef<str>>) -> Entry {
    value.map_or_else(|| painted(Paint::Faint, "-"), text)
}

/// Renders a table; every line ends with a newline.
#[must_use]
pub fn table(style: &Style, header: &[&str], rows: Vec<Vec<Entry>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty();
    if style.colour {
        table.enforce_styling();
    }
    if let Some(columns) = style.columns {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
    for row in rows {
        table.add_row(row.into_iter().map(cell));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn cell(entry: Entry) -> Cell {
    let cell = Cell::new(entry.text);
    match entry.paint {
        None | Some(Paint::Place) => cell,
        Some(Paint::Good) => cell.fg(Color::Green),
        Some(Paint::Weak) => cell.fg(Color::Yellow),
        Some(Paint::Bad) => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Some(Paint::Strong) => cell.add_attribute(Attribute::Bold),
        Some(Paint::Faint) => cell.add_attribute(Attribute::Dim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(style: &Style) -> String {
        table(
            style,
            &["NAME", "STATE"],
            vec![
                vec![text("shop"), painted(Paint::Good, "running")],
                vec![text("evil\x1b[2J"), maybe(None::<&str>)],
            ],
        )
    }

    #[test]
    fn columns_line_up_and_escapes_are_seen() {
        assert_eq!(
            sample(&Style::plain()),
            "NAME           STATE\nshop           running\nevil\\u{1b}[2J  -\n"
        );
    }

    #[test]
    fn colours_only_where_wanted() {
        assert!(!sample(&Style::plain()).contains('\x1b'));
        assert!(sample(&Style { colour: true, ..Style::plain() }).contains("\x1b["));
    }
}
