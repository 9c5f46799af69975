// The viewer of Preview Panorama: a panorama from inside, by one triangle and a fragment shader (raw WebGL 2).
//
// Convention, as of the pack's cameras: the middle of the picture is in front (-Z), angles in degrees, positive yaw to
// the right, positive pitch up, the field of view is vertical.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const NODE = "SyncDiffusionPreviewPanorama";
const KEY = "syncdiffusion_panorama";
const HEIGHT_PX = 260;
const FOV = { start: 80, least: 20, most: 120 };
const STEP = 15;
const KEYS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };

const VERTEX = `#version 300 es
out vec2 place;
void main() {
  place = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = vec4(place, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 place;
out vec4 colour;
uniform sampler2D picture;
uniform vec2 look;      // yaw, pitch, in radians
uniform vec2 reach;     // tangents of half the field of view, right and up
uniform float reaches;  // height of a cylinder of radius 1, 0 for a sphere
const float PI = 3.141592653589793;
void main() {
  vec3 ray = vec3(place * reach, -1.0);
  ray = vec3(ray.x, ray.y * cos(look.y) - ray.z * sin(look.y), ray.y * sin(look.y) + ray.z * cos(look.y));
  ray = vec3(ray.x * cos(look.x) - ray.z * sin(look.x), ray.y, ray.x * sin(look.x) + ray.z * cos(look.x));
  float across = length(ray.xz);
  float v = reaches > 0.0 ? 0.5 - ray.y / across / reaches : atan(across, ray.y) / PI;
  bool beyond = v < 0.0 || v > 1.0;
  colour = beyond ? vec4(0.1, 0.1, 0.12, 1.0) : texture(picture, vec2(atan(ray.x, -ray.z) / (2.0 * PI) + 0.5, v));
}`;

class Viewer {
  constructor() {
    this.yaw = 0;
    this.pitch = 0;
    this.fov = FOV.start;
    this.pictures = [];
    this.shown = 0;
    this.element = document.createElement("div");
    this.element.className = "syncdiffusion-panorama";
    this.element.tabIndex = 0;
    this.element.dataset.captureWheel = "true"; // or Vue nodes hand the wheel to the graph
    this.element.style.cssText = "position:relative;width:100%;height:100%;min-height:120px;background:#1a1a1e;outline:none";
    this.canvas = document.createElement("canvas");
    this.canvas.style.cssText = "width:100%;height:100%;display:block;cursor:grab;touch-action:none";
    this.number = this.#button("right:6px;bottom:6px", "", () => this.next());
    this.number.hidden = true;
    this.#button("right:6px;top:6px", "full screen", () => this.element.requestFullscreen?.());
    this.element.prepend(this.canvas);
    // Kept, so that a picture of it can be taken at any time.
    this.gl = this.canvas.getContext("webgl2", { preserveDrawingBuffer: true, antialias: false });
    if (!this.gl) {
      this.element.textContent = "This browser has no WebGL 2, which the viewer needs.";
      return;
    }
    this.#prepare();
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  show(pictures) {
    this.pictures = pictures;
    this.#load(0);
  }

  next() {
    this.#load((this.shown + 1) % this.pictures.length);
  }

  turn(yaw, pitch) {
    this.yaw = (((this.yaw + yaw) % 360) + 360) % 360;
    this.pitch = Math.min(Math.max(this.pitch + pitch, -90), 90);
    this.draw();
  }

  zoom(factor) {
    this.fov = Math.min(Math.max(this.fov * factor, FOV.least), FOV.most);
    this.draw();
  }

  draw() {
    const { gl, canvas } = this;
    if (!gl || !this.size) return;
    const scale = window.devicePixelRatio || 1;
    const sides = [this.element.clientWidth, this.element.clientHeight].map((side) => Math.max(1, Math.round(side * scale)));
    if (sides[0] !== canvas.width || sides[1] !== canvas.height) {
      [canvas.width, canvas.height] = sides; // makes the buffer anew, even of the same size
      gl.viewport(0, 0, ...sides);
    }
    const up = Math.tan((this.fov * Math.PI) / 360);
    const [width, height] = this.size;
    gl.uniform2f(this.at.look, (this.yaw * Math.PI) / 180, (this.pitch * Math.PI) / 180);
    gl.uniform2f(this.at.reach, (up * canvas.width) / canvas.height, up);
    gl.uniform1f(this.at.reaches, this.pictures[this.shown].shape === "cylinder" ? (2 * Math.PI * height) / width : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  #load(number) {
    const { filename, subfolder, type } = this.pictures[number];
    const image = new Image();
    image.onload = () => {
      const { gl } = this;
      if (!gl) return;
      this.shown = number;
      this.size = [image.naturalWidth, image.naturalHeight];
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, this.#fitting(image));
      this.number.hidden = this.pictures.length < 2;
      this.number.textContent = `${number + 1} / ${this.pictures.length}`;
      this.draw();
    };
    image.src = api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
  }

  // Of a picture that is larger than a texture may be, a smaller one.
  #fitting(image) {
    const most = this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE);
    const scale = most / Math.max(image.naturalWidth, image.naturalHeight);
    if (scale >= 1) return image;
    const smaller = document.createElement("canvas");
    smaller.width = Math.floor(image.naturalWidth * scale);
    smaller.height = Math.floor(image.naturalHeight * scale);
    smaller.getContext("2d").drawImage(image, 0, 0, smaller.width, smaller.height);
    return smaller;
  }

  #prepare() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.at = Object.fromEntries(["look", "reach", "reaches"].map((name) => [name, gl.getUniformLocation(program, name)]));
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.REPEAT);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  // What the viewer uses stays with it: the graph would pan, zoom and move nodes by the same.
  #listen() {
    const { canvas, element } = this;
    canvas.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      element.focus();
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      event.stopPropagation();
      const degrees = this.fov / canvas.getBoundingClientRect().height;
      this.turn(-event.movementX * degrees, event.movementY * degrees);
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        event.stopPropagation();
        this.zoom(Math.exp(event.deltaY / 1000));
      },
      { passive: false },
    );
    element.addEventListener("keydown", (event) => {
      if (!(event.key in KEYS)) return;
      event.preventDefault();
      event.stopPropagation();
      this.turn(...KEYS[event.key]);
    });
  }

  #button(place, text, press) {
    const button = document.createElement("button");
    button.style.cssText = `position:absolute;${place};border:0;border-radius:4px;padding:2px 8px;color:#eee;background:#0008`;
    button.textContent = text;
    button.addEventListener("click", press);
    this.element.append(button);
    return button;
  }
}

app.registerExtension({
  name: "SyncDiffusion.PreviewPanorama",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const viewer = new Viewer();
    node.addDOMWidget("panorama", "SYNCDIFFUSION_PANORAMA", viewer.element, {
      serialize: false,
      getMinHeight: () => HEIGHT_PX,
    });
    const { onExecuted } = node;
    node.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      if (output?.[KEY]?.length) viewer.show(output[KEY]);
    };
  },
});
