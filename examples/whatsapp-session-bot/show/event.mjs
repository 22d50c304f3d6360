/** Something that will happen, and that others wait for. */
export function createEvent() {
  let happen
  const happened = new Promise((resolve) => {
    happen = resolve
  })
  return { happen, happened }
}
