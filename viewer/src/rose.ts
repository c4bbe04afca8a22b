/** A wind rose: how many members have wind from each direction, by speed. */

import { svg } from "./dom";

const SECTORS = 16;
const LIMITS = [0, 5, 10, 17.2, Infinity];
const COLORS = ["#355f8d", "#21918c", "#7ad151", "#fde725"];
const RADIUS = 62;

/** Return the classes of speed, in m/s from one limit to the next, with their colours. */
export function roseClasses(): { from: number; to: number; color: string }[] {
  return COLORS.map((color, i) => ({ from: LIMITS[i], to: LIMITS[i + 1], color }));
}

/** Return the rose of speeds in m/s and directions in degrees; `label` describes it. */
export function drawRose(speeds: (number | null)[], directions: (number | null)[], label: string): SVGElement {
  const counts = Array.from({ length: SECTORS }, () => LIMITS.slice(1).map(() => 0));
  speeds.forEach((speed, i) => {
    const direction = directions[i];
    if (speed === null || direction === null) return;
    const sector = Math.round(direction / (360 / SECTORS)) % SECTORS;
    counts[sector][LIMITS.findIndex((limit, j) => speed >= limit && speed < LIMITS[j + 1])]++;
  });
  const most = Math.max(...counts.map((parts) => parts.reduce((sum, part) => sum + part, 0)), 1);
  const rose = svg("svg", { viewBox: "-90 -90 180 180", role: "img", "aria-label": label, class: "rose" });
  for (const share of [0.5, 1]) rose.append(svg("circle", { r: RADIUS * share, class: "ring" }));
  counts.forEach((parts, sector) => {
    let from = 0;
    parts.forEach((part, level) => {
      if (part === 0) return;
      rose.append(svg("path", { d: wedge(sector, (from / most) * RADIUS, ((from + part) / most) * RADIUS), fill: COLORS[level] }));
      from += part;
    });
  });
  const total = counts.flat().reduce((sum, part) => sum + part, 0);
  if (total > 0) {
    const share = svg("text", { x: 0.72 * RADIUS, y: 0.72 * RADIUS + 8, class: "share" });
    share.textContent = `${Math.round((100 * most) / total)} %`;
    rose.append(share);
  }
  ["N", "E", "S", "W"].forEach((name, i) => {
    const text = svg("text", { x: 76 * Math.sin((i * Math.PI) / 2), y: -76 * Math.cos((i * Math.PI) / 2), class: "point" });
    text.textContent = name;
    rose.append(text);
  });
  return rose;
}

function wedge(sector: number, inner: number, outer: number): string {
  const half = (Math.PI / SECTORS) * 0.86;
  const middle = (sector * 2 * Math.PI) / SECTORS;
  const point = (radius: number, angle: number): string => `${radius * Math.sin(angle)} ${-radius * Math.cos(angle)}`;
  const [a, b] = [middle - half, middle + half];
  return `M${point(inner, a)}L${point(outer, a)}A${outer} ${outer} 0 0 1 ${point(outer, b)}L${point(inner, b)}A${inner} ${inner} 0 0 0 ${point(inner, a)}Z`;
}
