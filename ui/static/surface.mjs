// The canvas's elements: two canvases on one another, the focus ring, and their size.

// Above this a frame costs more than a finer line is worth: screen pixels a CSS pixel.
const MAX_RATIO = 1.5;

const HELP =
  'Tab and Shift+Tab go from box to box while the image has the focus; Escape until nothing is ' +
  'selected, then Tab leaves the image. A accepts, X rejects, arrow keys move, N draws. ' +
  'Question mark lists all keys.';

let count = 0;

/**
 * The elements inside `host`; `onResize(width, height)` in CSS pixels is called when they have a
 * size.
 */
export function createSurface(host, onResize) {
  const { ownerDocument: document } = host;
  const root = styled(document.createElement('div'), {
    position: 'relative',
    width: '100%',
    height: '100%',
    overflow: 'hidden',
    background: '#e4e7eb',
  });
  root.className = 'sl-canvas';
  const fill = {
    position: 'absolute',
    inset: '0',
    width: '100%',
    height: '100%',
    display: 'block',
  };
  const image = styled(document.createElement('canvas'), fill);
  image.setAttribute('aria-hidden', 'true');
  const boxes = styled(document.createElement('canvas'), {
    ...fill,
    outline: 'none',
    touchAction: 'none',
  });
  const help = styled(document.createElement('p'), {
    ...fill,
    clipPath: 'inset(50%)',
    pointerEvents: 'none',
    margin: '0',
  });
  help.id = `sl-canvas-help-${(count += 1)}`;
  help.textContent = HELP;
  boxes.tabIndex = 0;
  boxes.dataset.testid = 'canvas';
  boxes.setAttribute('role', 'application');
  boxes.setAttribute('aria-label', 'Image with boxes');
  boxes.setAttribute('aria-describedby', help.id);
  const ring = styled(document.createElement('div'), {
    ...fill,
    boxSizing: 'border-box',
    border: '3px solid #0b5cad',
    boxShadow: 'inset 0 0 0 2px #ffffff',
    pointerEvents: 'none',
    visibility: 'hidden',
  });
  root.append(image, boxes, ring, help);
  host.append(root);

  const surface = {
    element: boxes,
    imageContext: image.getContext('2d'),
    boxContext: boxes.getContext('2d'),
    ratio: 1,
    showFocus: (visible) => (ring.style.visibility = visible ? 'visible' : 'hidden'),
    destroy() {
      observer.disconnect();
      root.remove();
    },
  };
  const fit = () => {
    const { clientWidth: width, clientHeight: height } = root;
    if (width === 0 || height === 0) return; // hidden: it gets its size back with its place
    surface.ratio = Math.min(document.defaultView.devicePixelRatio || 1, MAX_RATIO);
    for (const canvas of [image, boxes]) {
      canvas.width = Math.round(width * surface.ratio);
      canvas.height = Math.round(height * surface.ratio);
    }
    onResize(width, height);
  };
  const observer = new ResizeObserver(fit);
  observer.observe(root);
  return surface;
}

function styled(element, style) {
  Object.assign(element.style, style);
  return element;
}
