// Points of the map: WebGL2, or a 2D canvas where there is none; camera, nearest point, points in a polygon.
//
// Not regl-scatterplot: regl makes its draw commands with `new Function`, which the page's
// content security policy forbids ('unsafe-eval').

export type Corner = readonly [x: number, y: number]; // CSS pixels of the canvas

/** Layers, from the back to the front; the fourth byte of a point's color. */
export const LAYER = { dim: 0, usual: 1, chosen: 2 };

const MARGIN = 1.08;
const ZOOM = { least: 0.5, most: 400 };

const VERTEX = `#version 300 es
in vec2 place;
in vec4 color;
uniform vec2 center;
uniform vec2 scale;
uniform float size;
out vec4 shade;
void main() {
  float layer = floor(color.a * 255.0 + 0.5);
  gl_Position = vec4((place - center) * scale, 0.9 - 0.3 * layer, 1.0);
  gl_PointSize = size * (layer < 0.5 ? 0.8 : layer < 1.5 ? 1.0 : 1.35);
  shade = vec4(color.rgb, layer < 0.5 ? 0.35 : layer < 1.5 ? 0.85 : 1.0);
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 shade;
out vec4 pixel;
void main() {
  float far = length(gl_PointCoord - 0.5) * 2.0;
  if (far > 1.0) discard;
  pixel = vec4(shade.rgb, 1.0) * shade.a * (1.0 - smoothstep(0.8, 1.0, far));
}`;

interface Painter {
  points(x: Float32Array, y: Float32Array): void;
  colors(rgb: Uint8Array): void;
  draw(center: Corner, scale: Corner, size: number): void;
}

function compile(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "");
  return program;
}

/** Tried on another canvas: one that has given a WebGL context gives no 2D context any more. */
function hasGl(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2");
  try {
    return gl !== null && Boolean(compile(gl));
  } catch {
    return false;
  } finally {
    gl?.getExtension("WEBGL_lose_context")?.loseContext(); // browsers allow few at once
  }
}

function withGl(gl: WebGL2RenderingContext): Painter {
  const program = compile(gl);
  const buffers = { place: gl.createBuffer(), color: gl.createBuffer() };
  let n = 0;
  gl.useProgram(program);
  for (const [name, width, type, normal] of [
    ["place", 2, gl.FLOAT, false],
    ["color", 4, gl.UNSIGNED_BYTE, true],
  ] as const) {
    const at = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, width, type, normal, 0, 0);
  }
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  gl.enable(gl.DEPTH_TEST);
  gl.depthFunc(gl.LEQUAL);
  const uniform = (name: string) => gl.getUniformLocation(program, name);
  const [center, scale, size] = [uniform("center"), uniform("scale"), uniform("size")];
  return {
    points(x, y) {
      n = x.length;
      const places = new Float32Array(2 * n);
      for (let at = 0; at < n; at++) {
        places[2 * at] = x[at]!;
        places[2 * at + 1] = y[at]!;
      }
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers.place);
      gl.bufferData(gl.ARRAY_BUFFER, places, gl.STATIC_DRAW);
    },
    colors(rgb) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers.color);
      gl.bufferData(gl.ARRAY_BUFFER, rgb, gl.DYNAMIC_DRAW);
    },
    draw(at, by, px) {
      gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.uniform2f(center, ...at);
      gl.uniform2f(scale, ...by);
      gl.uniform1f(size, px);
      gl.drawArrays(gl.POINTS, 0, n);
    },
  };
}

function with2d(context: CanvasRenderingContext2D): Painter {
  let [x, y, rgb] = [new Float32Array(), new Float32Array(), new Uint8Array()];
  return {
    points: (nextX, nextY) => ([x, y] = [nextX as typeof x, nextY as typeof y]),
    colors: (next) => (rgb = next as typeof rgb),
    draw(at, by, size) {
      const { width, height } = context.canvas;
      context.clearRect(0, 0, width, height);
      for (const layer of Object.values(LAYER))
        for (let point = 0; point < x.length; point++) {
          if (rgb[4 * point + 3] !== layer) continue;
          const left = (((x[point]! - at[0]) * by[0] + 1) * width) / 2;
          const top = ((1 - (y[point]! - at[1]) * by[1]) * height) / 2;
          context.globalAlpha = layer ? 0.85 : 0.35;
          context.fillStyle = `rgb(${rgb[4 * point]} ${rgb[4 * point + 1]} ${rgb[4 * point + 2]})`;
          context.fillRect(left - size / 2, top - size / 2, size, size);
        }
    },
  };
}

export class Scatter {
  private painter: Painter;
  private rgb = new Uint8Array();
  private x = new Float32Array();
  private y = new Float32Array();
  private center: [number, number] = [0, 0];
  private zoom = 1;
  private due = 0;

  constructor(private readonly canvas: HTMLCanvasElement) {
    const gl = hasGl() ? canvas.getContext("webgl2", { antialias: false, alpha: true }) : null;
    this.painter = gl ? withGl(gl) : with2d(canvas.getContext("2d")!);
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault()); // asks for another one
    canvas.addEventListener("webglcontextrestored", () => {
      this.painter = withGl(gl!);
      this.painter.points(this.x, this.y);
      this.setColors(this.rgb);
    });
  }

  setPoints(x: Float32Array, y: Float32Array): void {
    this.x = x as typeof this.x;
    this.y = y as typeof this.y;
    this.painter.points(x, y);
    this.redraw();
  }

  /** Four bytes for each point: red, green, blue and the layer. */
  setColors(rgb: Uint8Array): void {
    this.rgb = rgb as typeof this.rgb;
    this.painter.colors(rgb);
    this.redraw();
  }

  resize(width: number, height: number): void {
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    this.redraw();
  }

  redraw(): void {
    if (this.due) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      this.painter.draw(this.center, this.scale(), this.pointSize());
    });
  }

  /** Smaller where there are many, larger when near. */
  private pointSize(): number {
    const area = this.canvas.width * this.canvas.height;
    const crowd = Math.sqrt((area * 0.1) / Math.max(1, this.x.length));
    const usual = Math.min(10, Math.max(2.5, crowd)) * devicePixelRatio;
    return Math.min(18 * devicePixelRatio, usual * Math.sqrt(Math.sqrt(Math.max(1, this.zoom))));
  }

  private scale(): [number, number] {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const side = Math.min(width, height) || 1;
    return [(side / (width || 1) / MARGIN) * this.zoom, (side / (height || 1) / MARGIN) * this.zoom];
  }

  toPixel(point: number): Corner {
    const [sx, sy] = this.scale();
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return [
      (((this.x[point]! - this.center[0]) * sx + 1) * width) / 2,
      ((1 - (this.y[point]! - this.center[1]) * sy) * height) / 2,
    ];
  }

  private toMap([left, top]: Corner): [number, number] {
    const [sx, sy] = this.scale();
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return [this.center[0] + ((2 * left) / width - 1) / sx, this.center[1] + (1 - (2 * top) / height) / sy];
  }

  pan(dx: number, dy: number): void {
    const [x0, y0] = this.toMap([0, 0]);
    const [x1, y1] = this.toMap([dx, dy]);
    this.center = [this.center[0] + x0 - x1, this.center[1] + y0 - y1];
    this.redraw();
  }

  zoomBy(factor: number, at: Corner = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]): void {
    const [x0, y0] = this.toMap(at);
    this.zoom = Math.min(ZOOM.most, Math.max(ZOOM.least, this.zoom * factor));
    const [x1, y1] = this.toMap(at);
    this.center = [this.center[0] + x0 - x1, this.center[1] + y0 - y1];
    this.redraw();
  }

  fit(): void {
    this.center = [0, 0];
    this.zoom = 1;
    this.redraw();
  }

  /** The point nearest to a place, or -1 if none is within so many pixels. */
  nearest(at: Corner, within = 10): number {
    const [x, y] = this.toMap(at);
    const reach = Math.abs(this.toMap([at[0] + within, at[1]])[0] - x);
    let [best, least] = [-1, reach * reach];
    for (let point = 0; point < this.x.length; point++) {
      const far = (this.x[point]! - x) ** 2 + (this.y[point]! - y) ** 2;
      if (far < least) [best, least] = [point, far];
    }
    return best;
  }

  /** Points inside a polygon: even-odd rule. */
  inside(polygon: readonly Corner[]): number[] {
    const corners = polygon.map((corner) => this.toMap(corner));
    const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
    const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const found: number[] = [];
    for (let point = 0; point < this.x.length; point++) {
      const [x, y] = [this.x[point]!, this.y[point]!];
      if (x < left || x > right || y < bottom || y > top) continue;
      let within = false;
      for (let i = 0, j = xs.length - 1; i < xs.length; j = i++)
        if (ys[i]! > y !== ys[j]! > y && x < ((xs[j]! - xs[i]!) * (y - ys[i]!)) / (ys[j]! - ys[i]!) + xs[i]!) within = !within;
      if (within) found.push(point);
    }
    return found;
  }
}
