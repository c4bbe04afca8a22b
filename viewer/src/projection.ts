/** Projections between longitude, latitude and pixels: flat (plate carrée) and globe (orthographic). */

import { geoEquirectangular, geoOrthographic, type GeoProjection } from "d3-geo";

export type Kind = "globe" | "flat";
const RADIANS = Math.PI / 180;

export interface Camera {
  kind: Kind;
  longitude: number;
  latitude: number;
  /** 1 shows the whole globe. */
  zoom: number;
}

/** A camera on a canvas of a size in pixels. */
export class View {
  readonly scale: number;
  private readonly sin: number;
  private readonly cos: number;

  constructor(readonly camera: Camera, readonly width: number, readonly height: number) {
    const { kind, latitude, zoom } = camera;
    const flat = Math.max(width / (2 * Math.PI), height / Math.PI);
    this.scale = zoom * (kind === "globe" ? Math.min(width, height) * 0.46 : flat);
    this.sin = Math.sin(latitude * RADIANS);
    this.cos = Math.cos(latitude * RADIANS);
  }

  /** Write the pixel of a place into `out`; return false if it is on the far side of the globe. */
  project(longitude: number, latitude: number, out: Float64Array): boolean {
    const { kind, longitude: centre, latitude: middle } = this.camera;
    const delta = ((((longitude - centre + 180) % 360) + 360) % 360) - 180;
    if (kind === "flat") {
      out[0] = this.width / 2 + this.scale * delta * RADIANS;
      out[1] = this.height / 2 - this.scale * (latitude - middle) * RADIANS;
      return true;
    }
    const phi = latitude * RADIANS;
    const lambda = delta * RADIANS;
    const cosPhi = Math.cos(phi);
    const sinPhi = Math.sin(phi);
    const cosLambda = Math.cos(lambda);
    out[0] = this.width / 2 + this.scale * cosPhi * Math.sin(lambda);
    out[1] = this.height / 2 - this.scale * (this.cos * sinPhi - this.sin * cosPhi * cosLambda);
    return this.sin * sinPhi + this.cos * cosPhi * cosLambda > 0;
  }

  /** Write the place of a pixel into `out`; return false if there is none. */
  invert(x: number, y: number, out: Float64Array): boolean {
    const { kind, longitude, latitude } = this.camera;
    const dx = (x - this.width / 2) / this.scale;
    const dy = (this.height / 2 - y) / this.scale;
    if (kind === "flat") {
      out[0] = longitude + dx / RADIANS;
      out[1] = latitude + dy / RADIANS;
      return Math.abs(out[1]) <= 90 && Math.abs(dx) <= Math.PI;
    }
    const squared = dx * dx + dy * dy;
    if (squared > 1) return false;
    const z = Math.sqrt(1 - squared);
    out[1] = Math.asin(Math.min(Math.max(z * this.sin + dy * this.cos, -1), 1)) / RADIANS;
    out[0] = longitude + Math.atan2(dx, z * this.cos - dy * this.sin) / RADIANS;
    return true;
  }

  /** Return the same projection for the paths of d3-geo. */
  forPaths(): GeoProjection {
    const { kind, longitude, latitude } = this.camera;
    if (kind === "globe") {
      return geoOrthographic().rotate([-longitude, -latitude]).scale(this.scale).translate([this.width / 2, this.height / 2]).clipAngle(90);
    }
    const y = this.height / 2 + this.scale * latitude * RADIANS;
    return geoEquirectangular().rotate([-longitude, 0]).scale(this.scale).translate([this.width / 2, y]).precision(0.5);
  }

  /** Return the camera after the map was dragged by some pixels. */
  dragged(dx: number, dy: number): Camera {
    const { camera } = this;
    const latitude = camera.latitude + dy / this.scale / RADIANS;
    return {
      ...camera,
      longitude: wrap(camera.longitude - dx / this.scale / RADIANS / (camera.kind === "globe" ? Math.max(this.cos, 0.3) : 1)),
      latitude: camera.kind === "globe" ? clamp(latitude, 89) : clamp(latitude, this.maxLatitude()),
    };
  }

  /** Return the largest latitude of the centre at which the flat map has no space beyond its edge. */
  maxLatitude(): number {
    return Math.max(90 - this.height / 2 / this.scale / RADIANS, 0);
  }
}

export function wrap(longitude: number): number {
  return ((((longitude + 180) % 360) + 360) % 360) - 180;
}

function clamp(value: number, limit: number): number {
  return Math.min(Math.max(value, -limit), limit);
}
