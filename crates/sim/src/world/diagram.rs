//! A trace as a sequence diagram: a column a server, an arrow a message.

use super::trace::Line;

/// How wide a column is.
const COLUMN: usize = 14;

/// The lines of a trace with an arrow for each message, for a terminal.
pub fn diagram(lines: &[Line], servers: usize) -> Vec<String> {
    let header: Vec<String> = (1..=servers).map(|it| format!("{it:^COLUMN$}")).collect();
    let mut shown = vec![format!("{:14}{}", "", header.concat())];
    for line in lines {
        let time = format!("{:>5}.{:06}  ", line.at_us / 1_000_000, line.at_us % 1_000_000);
        let picture = match (line.between, line.who) {
            (Some((from, to)), _) => arrow(from as usize, to as usize, servers),
            (None, Some(who)) => column(servers, |at| if at + 1 == who as usize { '■' } else { '│' }),
            (None, None) => column(servers, |_| '│'),
        };
        shown.push(format!("{time}{picture}  {}", line.what));
    }
    shown
}

fn column(servers: usize, mark: impl Fn(usize) -> char) -> String {
    let half = COLUMN / 2;
    let mut cells = String::new();
    for at in 0..servers {
        cells.extend(std::iter::repeat_n(' ', half));
        cells.push(mark(at));
        cells.extend(std::iter::repeat_n(' ', COLUMN - half - 1));
    }
    cells
}

fn arrow(from: usize, to: usize, servers: usize) -> String {
    let at = |server: usize| (server.max(1) - 1) * COLUMN + COLUMN / 2;
    let mut cells: Vec<char> = column(servers, |_| '│').chars().collect();
    let (low, high) = (at(from.min(to)), at(from.max(to)));
    for cell in cells.iter_mut().take(high).skip(low + 1) {
        *cell = '─';
    }
    if let Some(cell) = cells.get_mut(at(from)) {
        *cell = '●';
    }
    let (head, tip) = if to > from { (high.saturating_sub(1), '►') } else { (low + 1, '◄') };
    if let Some(cell) = cells.get_mut(head) {
        *cell = tip;
    }
    cells.into_iter().collect()
}
