/** Create elements of the page. */

type Child = Node | string | null;
type Properties = Record<string, unknown>;

/** Return a new element. Properties that begin with `on` are listeners, those with a dash are attributes. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else if (name === "class") element.className = String(value);
    else if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, String(value));
    else Object.assign(element, { [name]: value });
  }
  element.append(...children.filter((child): child is Node | string => child !== null));
  return element;
}

/** Return the element with an id; the page must have it. */
export function byId<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`The page has no element #${id}.`);
  return element as T;
}

/** Show or hide the list and the forms, which cover the map on a phone. */
export function showSide(isOpen: boolean): void {
  document.body.classList.toggle("with-side", isOpen);
  byId("menu").setAttribute("aria-expanded", String(isOpen));
}

/** Fill a `<select>` with options, and choose one. */
export function fillOptions(select: HTMLSelectElement, options: [string, string][], chosen?: string): void {
  select.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
  if (chosen !== undefined) select.value = chosen;
}

const SVG = "http://www.w3.org/2000/svg";

/** Return a new SVG element with attributes. */
export function svg(tag: string, attributes: Record<string, string | number>, ...children: Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}
