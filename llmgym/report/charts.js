"use strict";
// Charts as inline SVG. Values come as numbers and texts go through textContent, so data never becomes markup.

// The namespace is read off an element of the page, so that this file names no address.
const SVG = document.getElementById("svg-seed").namespaceURI;

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function shape(name, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

/** Round numbers within [low, high], about `count` of them, `least` apart at least. */
function ticks(low, high, count, least = 0) {
  if (!(high > low)) return [low];
  const rough = Math.max(least, (high - low) / count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = [1, 2, 2.5, 5, 10].map(n => n * power).filter(size => !least || size % least === 0);
  const step = steps.find(size => size >= rough * 0.9);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step);
  return found;
}

function shown(value) {
  if (value === null || value === undefined) return "unknown";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return String(Number(value.toPrecision(size >= 100 ? 4 : 3)));
}

const asPercent = value => (value === null || value === undefined ? "unknown" : `${Number((100 * value).toFixed(1))}\u00a0%`);
const isKnown = value => typeof value === "number";

/** An empty chart with a caption, a readout and a legend; `draw(width)` fills the svg, again at each new width. */
function frame(place, spec, draw) {
  const svg = shape("svg", {tabindex: 0, role: "img", "aria-label": `${spec.title}. ${spec.summary || ""}`});
  const readout = element("div", {class: "readout", "aria-live": "polite"}, spec.note || "");
  const figure = element("figure", {}, element("figcaption", {}, spec.title), readout, svg);
  if (spec.hint) figure.firstChild.title = spec.hint;
  if (spec.legend.length > 1) {
    figure.append(element("div", {class: "legend"}, ...spec.legend.map(([name, mark]) => {
      const key = shape("svg", {viewBox: "0 0 30 12", "aria-hidden": "true"});
      key.append(mark());
      return element("span", {}, key, name);
    })));
  }
  place.append(figure);
  let width = 0;
  const redraw = () => {
    const now = Math.round(figure.clientWidth);
    if (now && now !== width) {
      width = now;
      svg.replaceChildren();
      draw(svg, readout, width);
    }
  };
  new ResizeObserver(redraw).observe(figure);
  redraw();
  return figure;
}

/** Axes and scales in `svg`; returns what maps values to places. */
function axes(svg, width, height, spec) {
  const {x: [x0, x1], y: [y0, y1]} = spec;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  const yTicks = ticks(y0, y1, height > 200 ? 5 : 4), format = spec.format || shown;
  const left = 12 + 6.2 * Math.max(...yTicks.map(value => format(value).length)), right = width - 20;
  const top = 8, bottom = height - 34;
  const place = {
    left, right, top, bottom,
    x: value => left + (x1 > x0 ? (value - x0) / (x1 - x0) : 0.5) * (right - left),
    y: value => bottom - (y1 > y0 ? (value - y0) / (y1 - y0) : 0.5) * (bottom - top),
  };
  for (const value of yTicks) {
    const y = place.y(value);
    svg.append(shape("line", {class: "axis", x1: left, x2: right, y1: y, y2: y}));
    svg.append(shape("text", {x: left - 6, y: y + 4, "text-anchor": "end"}, format(value)));
  }
  for (const value of ticks(x0, x1, Math.max(3, Math.floor((right - left) / 90)), spec.leastStep)) {
    svg.append(shape("text", {x: place.x(value), y: bottom + 15, "text-anchor": "middle"}, shown(value)));
  }
  svg.append(shape("text", {x: (left + right) / 2, y: height - 4, "text-anchor": "middle"}, spec.xName));
  return place;
}

function path(points) {
  return points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

/** Runs of neighbouring points whose values are all known; a gap in the data is a gap in the curve. */
function unbroken(series, names) {
  const runs = [];
  let run = [];
  series.x.forEach((x, index) => {
    if (isKnown(x) && names.every(name => isKnown(series[name][index]))) run.push(index);
    else if (run.length) { runs.push(run); run = []; }
  });
  if (run.length) runs.push(run);
  return runs;
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (!isKnown(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

const curveClass = series => `curve ${series.colour} ${series.isFaint ? "faint" : ""}`;

/** A noisy series as it is, faint, and its running mean, where it has enough points to need one. */
function withMean(series) {
  if (series.y.length < 100) return [series];
  const reach = Math.round(series.y.length / 60);
  const y = series.y.map((_, index) => {
    const near = series.y.slice(Math.max(0, index - reach), index + reach + 1).filter(isKnown);
    return near.length ? near.reduce((sum, value) => sum + value, 0) / near.length : null;
  });
  return [{...series, isFaint: true}, {...series, name: `mean of ${2 * reach + 1} points`, y}];
}

/** Curves: `spec.series` holds {name, colour, x, y, low?, high?, dots?, isFaint?}; arrays are parallel, null is unknown. */
function lineChart(place, spec) {
  const all = spec.series.flatMap(series => [...series.y, ...(series.low || []), ...(series.high || [])]);
  let [low, high] = spec.y || extent(all);
  if (!spec.y) {
    if (low > 0 && low < 0.6 * high) low = 0;
    if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  }
  const x = extent(spec.series.flatMap(series => series.x)), format = spec.format || shown;
  const stops = [...new Set(spec.series.flatMap(series => series.x.filter(isKnown)))].sort((a, b) => a - b);
  const legend = spec.series.map(series => [series.name, () => {
    return shape("line", {class: curveClass(series), x1: 0, x2: 30, y1: 6, y2: 6});
  }]);
  if (spec.alarms && spec.alarms.length && legend.length > 1) {
    legend.push(["alarm", () => {
      const mark = shape("g", {class: "alarm"});
      mark.append(shape("line", {x1: 12, x2: 12, y1: 0, y2: 12}), shape("path", {d: "M12 0l9 4l-9 4Z"}));
      return mark;
    }]);
  }
  const last = spec.series.map(series => `${series.name}: ${format(series.y.findLast(isKnown))} at the end`);
  return frame(place, {...spec, legend, summary: last.join("; ")}, (svg, readout, width) => {
    const at = axes(svg, width, spec.height || 190, {...spec, x, y: [low, high]});
    for (const series of spec.series) {
      const point = name => index => [at.x(series.x[index]), at.y(series[name][index])];
      if (series.low) {
        for (const run of unbroken(series, ["low", "high"])) {
          const outline = [...run.map(point("high")), ...run.map(point("low")).reverse()];
          svg.append(shape("path", {class: `band ${series.colour}`, d: path(outline) + "Z"}));
        }
      }
      for (const run of unbroken(series, ["y"])) {
        svg.append(shape("path", {class: curveClass(series), d: path(run.map(point("y")))}));
        if (!series.dots && run.length > 1) continue;
        for (const [cx, cy] of run.map(point("y"))) {
          svg.append(shape("circle", {class: `dot ${series.colour} ${series.hollow ? "hollow" : ""}`, cx, cy, r: 3}));
        }
      }
    }
    markAlarms(svg, at, spec.alarms || []);
    addReading(svg, readout, stops, at, spec.note || "", value => spec.series.flatMap(series => {
      const index = series.x.indexOf(value);
      if (index < 0 || !isKnown(series.y[index])) return [];
      const interval = series.low ? ` [${format(series.low[index])}, ${format(series.high[index])}]` : "";
      return [`${spec.series.length > 1 ? series.name + " " : ""}${format(series.y[index])}${interval}`];
    }), spec.xName);
  });
}

/** A line with a flag where an alarm was given: `alarms` holds {x, name}. */
function markAlarms(svg, at, alarms) {
  for (const {x, name} of alarms) {
    if (!isKnown(x)) continue;
    const place = at.x(x), mark = shape("g", {class: "alarm"});
    mark.append(shape("title", {}, name));
    mark.append(shape("line", {x1: place, x2: place, y1: at.top, y2: at.bottom}));
    mark.append(shape("path", {d: `M${place} ${at.top}l9 4l-9 4Z`}));
    svg.append(mark);
  }
}

/** Shares that add up to one, as areas on top of each other: `spec.parts` holds {name, colour, y}. */
function areaChart(place, spec) {
  const legend = spec.parts.map(part => [part.name, () => {
    return shape("rect", {class: `area ${part.colour}`, width: 24, height: 12});
  }]);
  const stops = spec.x.filter(isKnown);
  return frame(place, {...spec, legend}, (svg, readout, width) => {
    const at = axes(svg, width, 190, {...spec, x: extent(spec.x), y: [0, 1], format: value => `${Math.round(100 * value)} %`});
    const floor = spec.x.map(() => 0);
    for (const part of spec.parts) {
      const lower = spec.x.map((x, index) => [at.x(x), at.y(floor[index])]);
      part.y.forEach((value, index) => { floor[index] += value; });
      const upper = spec.x.map((x, index) => [at.x(x), at.y(floor[index])]);
      svg.append(shape("path", {class: `area ${part.colour}`, d: path([...upper, ...lower.reverse()]) + "Z"}));
    }
    addReading(svg, readout, stops, at, "", value => {
      return spec.parts.map(part => `${part.name} ${asPercent(part.y[spec.x.indexOf(value)])}`);
    }, spec.xName);
  });
}

/** Read values off a chart by pointer or by arrow keys. */
function addReading(svg, readout, stops, at, rest, read, xName) {
  if (!stops.length) return;
  const cross = shape("line", {class: "cross", y1: at.top, y2: at.bottom, visibility: "hidden"});
  svg.append(cross);
  let current = stops.length - 1;
  const show = index => {
    current = Math.max(0, Math.min(stops.length - 1, index));
    const x = at.x(stops[current]);
    for (const [name, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) cross.setAttribute(name, value);
    readout.textContent = `${xName} ${shown(stops[current])}: ${read(stops[current]).join(", ")}`;
  };
  const hide = () => {
    cross.setAttribute("visibility", "hidden");
    readout.textContent = rest;
  };
  svg.onpointermove = event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * (svg.viewBox.baseVal.width / box.width);
    let nearest = 0;
    stops.forEach((stop, index) => {
      if (Math.abs(at.x(stop) - x) < Math.abs(at.x(stops[nearest]) - x)) nearest = index;
    });
    show(nearest);
  };
  svg.onpointerleave = hide;
  svg.onfocus = () => show(current);
  svg.onblur = hide;
  svg.onkeydown = event => {
    const move = {ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity, PageUp: -10, PageDown: 10}[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(current + move);
  };
}

/** How often a whole number occurs, before and after, in shares: `spec.counts` holds {before?, after?} of [value, count]. */
function histogram(place, spec) {
  const pairs = Object.entries(spec.counts);
  const [low, high] = extent(pairs.flatMap(([, counts]) => counts.map(([value]) => value)));
  const size = Math.max(1, Math.ceil((high - low + 1) / 30)), count = Math.floor((high - low) / size) + 1;
  const bars = {};
  for (const [when, counts] of pairs) {
    const total = counts.reduce((sum, [, number]) => sum + number, 0);
    bars[when] = new Array(count).fill(0);
    for (const [value, number] of counts) bars[when][Math.floor((value - low) / size)] += number / total;
  }
  const most = Math.min(1, Math.ceil(10 * Math.max(...Object.values(bars).flat())) / 10), starts = bars[pairs[0][0]].map((_, bin) => low + bin * size);
  const marks = {before: {class: "before"}, after: {class: "after"}};
  const legend = ["before", "after"].filter(when => bars[when]).map(when => [when, () => {
    return shape("rect", {...marks[when], x: 1, y: 1, width: 22, height: 10});
  }]);
  return frame(place, {...spec, legend}, (svg, readout, width) => {
    const x = [low - size / 2, low + (count - 0.5) * size];
    const at = axes(svg, width, 170, {...spec, x, y: [0, most], leastStep: 1, format: value => `${Math.round(100 * value)} %`});
    const bin = (at.right - at.left) / count;
    for (const when of ["after", "before"].filter(name => bars[name])) {
      bars[when].forEach((share, index) => {
        if (!share) return;
        const full = Math.min(bin, 44), wide = full * (when === "after" ? 0.72 : 0.94);
        const box = {x: at.left + (index + 0.5) * bin - wide / 2, width: wide, y: at.y(share), height: at.bottom - at.y(share)};
        svg.append(shape("rect", {...marks[when], ...box}));
      });
    }
    addReading(svg, readout, starts, at, "", start => Object.keys(bars).map(when => {
      return `${when} ${asPercent(bars[when][(start - low) / size])}`;
    }), size > 1 ? `${size} ${spec.xName} from` : spec.xName);
  });
}
