/** Show errors where they arise. */

/** Show a message in an element, which is hidden without one. */
export function showError(element: HTMLElement, error: unknown): void {
  element.hidden = error === null;
  element.textContent = error instanceof Error ? error.message : error === null ? "" : String(error);
}
