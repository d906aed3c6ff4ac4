//! The report as pictures: SVG, and PNG made of it.

use crate::error::Error;
use crate::shell;
use dormouse_tests::bench::{Hibernation, Peer, Report, StartFigures};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::fs;
use std::path::Path;
use std::process::Command;

const SIZE: (u32, u32) = (960, 520);
const FONT: &str = "DejaVu Sans";
const TITLE: i32 = 20;
const LABEL: i32 = 14;

/// One colour for each thing that is compared, told apart by everybody (Okabe
/// and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws what the report has into `folder`; parts that were not measured keep
/// their pictures.
pub fn draw(report: &Report, folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::file("making", folder))?;
    let below = format!("{}, {}", report.date, report.machine);
    let draw = |name: &str, plot: &dyn Fn(&Area<'_>) -> Drawn| {
        let svg = folder.join(name).with_extension("svg");
        picture(&svg, &below, plot)
            .map_err(|e| Error::Bench(vec![format!("drawing {}: {e}", svg.display())]))?;
        let png = svg.with_extension("png");
        shell::run(Command::new("rsvg-convert").arg("-o").arg(&png).arg(&svg))
    };
    if !report.ceiling.is_empty() {
        draw("ceiling", &|area| ceiling(report, area))?;
    }
    for memory_mib in sizes(&report.peers) {
        let of_size = report.peers.iter().filter(|peer| peer.memory_mib == memory_mib);
        let peers: Vec<(&str, &Hibernation)> = of_size
            .filter_map(|peer| Some((&*peer.system, &peer.outcome.figures()?.median)))
            .collect();
        draw(&format!("writing-{memory_mib}"), &|area| writing(memory_mib, &peers, area))?;
        draw(&format!("phases-{memory_mib}"), &|area| phases(memory_mib, &peers, area))?;
    }
    // One below the other: more rows than these are not to be read.
    let unlimited = report.starts.iter().filter(|row| row.limit_mb_s.is_none());
    let measured = unlimited.filter_map(|row| {
        let name = format!("{}, {}, {}", row.machine, row.system, row.way);
        Some((name, row.outcome.figures()?))
    });
    let measured: Vec<(String, &StartFigures)> = measured.collect();
    if !measured.is_empty() {
        draw("starts", &|area| starts(&measured, area))?;
    }
    if !report.scale.is_empty() {
        draw("scale", &|area| scale(report, area))?;
    }
    Ok(())
}

fn sizes(peers: &[Peer]) -> Vec<u64> {
    let mut sizes: Vec<u64> = peers.iter().map(|peer| peer.memory_mib).collect();
    sizes.dedup();
    sizes
}

/// A white picture with the day and the machine in its last line.
fn picture(file: &Path, below: &str, plot: &dyn Fn(&Area<'_>) -> Drawn) -> Drawn {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(SIZE.1 - 24);
    plot(&upper)?;
    let style = (FONT, 12).into_font().color(&BLACK.mix(0.6));
    lower.draw(&Text::new(below.to_owned(), (12, 2), style))?;
    root.present()?;
    Ok(())
}

/// Shares of the device's rate: a group of bars for each limit and driver.
fn ceiling(report: &Report, area: &Area<'_>) -> Drawn {
    let rows = &report.ceiling;
    let mut chart = ChartBuilder::on(area)
        .caption("Rate as a share of what the device does", (FONT, TITLE))
        .margin(12)
        .x_label_area_size(56)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..rows.len() as f64, 0.0..120.0)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_desc("%")
        .label_style((FONT, LABEL))
        .draw()?;
    let series = [
        ("writing", COLOURS[0], rows.iter().map(|row| row.write_percent).collect::<Vec<_>>()),
        ("reading", COLOURS[1], rows.iter().map(|row| row.read_percent).collect()),
    ];
    for (at, (name, colour, percents)) in series.into_iter().enumerate() {
        let bars = percents.into_iter().enumerate().map(|(i, percent)| {
            let left = i as f64 + 0.12 + at as f64 * 0.38;
            Rectangle::new([(left, 0.0), (left + 0.36, percent)], colour.filled())
        });
        chart.draw_series(bars)?.label(name).legend(square(colour));
    }
    for (i, row) in rows.iter().enumerate() {
        let limit = row.limit_mb_s.map_or("no limit".into(), |limit| format!("{limit} MB/s"));
        let x = 56 + 12 + ((i as f64 + 0.08) * f64::from(SIZE.0 - 80) / rows.len() as f64) as i32;
        let y = SIZE.1 as i32 - 24 - 62;
        for (line, text) in [row.driver.clone(), limit].into_iter().enumerate() {
            area.draw(&Text::new(text, (x, y + line as i32 * 16), (FONT, 11)))?;
        }
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// Megabytes on the disk against time since the command.
fn writing(memory_mib: u64, peers: &[(&str, &Hibernation)], area: &Area<'_>) -> Drawn {
    let points = || peers.iter().flat_map(|(_, peer)| &peer.progress);
    let end = points().fold(0.0, |end: f64, (x, _)| end.max(*x));
    let top = points().fold(0.0, |top: f64, (_, y)| top.max(*y));
    let caption = format!("From the command to power off, {memory_mib} MiB of memory");
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, TITLE))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end * 1.02, 0.0..top * 1.08)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("seconds since the command")
        .y_desc("MB written")
        .label_style((FONT, LABEL))
        .draw()?;
    for ((system, peer), colour) in peers.iter().zip(COLOURS) {
        let line = LineSeries::new(peer.progress.iter().copied(), colour.stroke_width(3));
        let name = format!("{system}: off after {:.1} s", peer.trigger_to_off_s);
        chart.draw_series(line)?.label(name).legend(square(colour));
        let off = peer.progress.last().copied();
        chart.draw_series(off.map(|at| Circle::new(at, 5, colour.filled())))?;
    }
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// Seconds for going to sleep and for waking.
fn phases(memory_mib: u64, peers: &[(&str, &Hibernation)], area: &Area<'_>) -> Drawn {
    let waking = |peer: &Hibernation| peer.start_to_userland_s.unwrap_or(0.0);
    let end = peers.iter().fold(0.0, |end: f64, (_, peer)| end.max(peer.trigger_to_off_s));
    let end = peers.iter().fold(end, |end: f64, (_, peer)| end.max(waking(peer)));
    let mut chart = rows_of_bars(
        area,
        &format!("Going to sleep and waking, {memory_mib} MiB of memory"),
        170,
        end,
        peers.len(),
    )?;
    let sleeping = |peer: &Hibernation| peer.trigger_to_off_s;
    let series = [
        ("command to power off", COLOURS[0], &sleeping as &dyn Fn(&Hibernation) -> f64),
        ("start to woken userland", COLOURS[1], &waking),
    ];
    let top = peers.len() as f64;
    for (at, (name, colour, value)) in series.into_iter().enumerate() {
        let middle = |i: usize| top - i as f64 - 0.32 - at as f64 * 0.36;
        let bars = peers.iter().enumerate().map(|(i, (_, peer))| {
            let corners = [(0.0, middle(i) - 0.16), (value(peer), middle(i) + 0.16)];
            Rectangle::new(corners, colour.filled())
        });
        chart.draw_series(bars)?.label(name).legend(square(colour));
        let values = peers.iter().enumerate().map(|(i, (_, peer))| {
            let words = match value(peer) {
                0.0 => "does not wake".into(),
                seconds => format!("{seconds:.2} s"),
            };
            Text::new(words, (value(peer) + end * 0.01, middle(i) + 0.08), (FONT, LABEL))
        });
        chart.draw_series(values)?;
    }
    name_rows(area, peers.iter().map(|(system, _)| (*system).to_owned()), 0.42, LABEL)?;
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// One bar for each machine and way, of what took how long.
fn starts(rows: &[(String, &StartFigures)], area: &Area<'_>) -> Drawn {
    let end = rows.iter().fold(0.0, |end: f64, (_, row)| end.max(row.total_s));
    let top = rows.len() as f64;
    let mut chart =
        rows_of_bars(area, "Power-on to the first answer of a web server", 260, end, rows.len())?;
    let share = |row: &StartFigures, part: usize| {
        [row.firmware_s, row.reader_s, row.reading_s, row.kernel_s, row.service_s][part]
    };
    let names = ["firmware", "reader", "reading", "Linux", "service"];
    for (part, (name, colour)) in names.into_iter().zip(COLOURS).enumerate() {
        let bars = rows.iter().enumerate().map(|(i, (_, row))| {
            let from: f64 = (0..part).map(|before| share(row, before)).sum();
            let middle = top - i as f64 - 0.5;
            let corners = [(from, middle - 0.3), (from + share(row, part), middle + 0.3)];
            Rectangle::new(corners, colour.filled())
        });
        chart.draw_series(bars)?.label(name).legend(square(colour));
    }
    let totals = rows.iter().enumerate().map(|(i, (_, row))| {
        let at = (row.total_s + end * 0.01, top - i as f64 - 0.35);
        Text::new(format!("{:.2} s", row.total_s), at, (FONT, LABEL))
    });
    chart.draw_series(totals)?;
    name_rows(area, rows.iter().map(|(name, _)| name.clone()), 0.32, 12)?;
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// Seconds against gigabytes stored: it has to be a line.
fn scale(report: &Report, area: &Area<'_>) -> Drawn {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let rows = &report.scale;
    let end = rows.iter().fold(0.0, |end: f64, row| end.max(gigabytes(row.stored_bytes)));
    let top = rows.iter().fold(0.0, |top: f64, row| top.max(row.seconds).max(row.read_s));
    let mut chart = ChartBuilder::on(area)
        .caption("By what is stored (open: machines that are mostly empty)", (FONT, TITLE))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end * 1.15, 0.0..top * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("GB stored")
        .y_desc("seconds")
        .label_style((FONT, LABEL))
        .draw()?;
    let series = [("jump to commit", COLOURS[0], true), ("reading", COLOURS[1], false)];
    for (name, colour, writing) in series {
        let points = rows.iter().map(|row| {
            let seconds = if writing { row.seconds } else { row.read_s };
            let at = (gigabytes(row.stored_bytes), seconds);
            Circle::new(at, 5, if row.full { colour.filled() } else { colour.stroke_width(2) })
        });
        chart.draw_series(points)?.label(name).legend(square(colour));
    }
    let names = rows.iter().filter(|row| row.full || row.memory_mib >= 8192).map(|row| {
        let at = (gigabytes(row.stored_bytes) + end * 0.015, row.seconds);
        Text::new(format!("{} MiB", row.memory_mib), at, (FONT, 12))
    });
    chart.draw_series(names)?;
    legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A chart of seconds, up to `end`, with one row of bars for each of `rows` things;
/// their names have `names` pixels.
fn rows_of_bars<'a, 'b>(
    area: &'a Area<'b>,
    caption: &str,
    names: u32,
    end: f64,
    rows: usize,
) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, TITLE))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(names)
        .build_cartesian_2d(0.0..end * 1.15, 0.0..rows as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(WHITE)
        .disable_y_axis()
        .x_desc("seconds")
        .label_style((FONT, LABEL))
        .draw()?;
    Ok(chart)
}

/// Writes the rows' names before them, this far down in each row, in letters of
/// this size.
fn name_rows(
    area: &Area<'_>,
    names: impl ExactSizeIterator<Item = String>,
    down: f64,
    size: i32,
) -> Drawn {
    let height = f64::from(SIZE.1 - 24 - 12 - 44 - 12 - 30) / names.len() as f64;
    for (i, name) in names.enumerate() {
        let y = 42 + ((i as f64 + down) * height) as i32;
        area.draw(&Text::new(name, (20, y), (FONT, size)))?;
    }
    Ok(())
}

fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, position: SeriesLabelPosition) -> Drawn {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, LABEL))
        .draw()?;
    Ok(())
}

fn square(colour: RGBColor) -> impl Fn((i32, i32)) -> Rectangle<(i32, i32)> {
    move |(x, y)| Rectangle::new([(x, y - 6), (x + 12, y + 6)], colour.filled())
}
