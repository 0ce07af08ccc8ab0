// A click on a heading sorts its table. The rows of a group are one <tbody> and stay together.
function sortValue(body, column) {
  const cell = body.rows[0].cells[column];
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
}

function compare(first, second, ascending) {
  if (typeof first !== typeof second) return typeof first === 'number' ? -1 : 1;
  const order = first < second ? -1 : first > second ? 1 : 0;
  return ascending ? order : -order;
}

function sortBy(heading) {
  const table = heading.closest('table');
  const bodies = Array.from(table.tBodies);
  const column = heading.cellIndex;
  const numeric = bodies.some((body) => typeof sortValue(body, column) === 'number');
  const before = heading.getAttribute('aria-sort');
  const ascending = before ? before === 'descending' : !numeric;
  bodies.sort((a, b) => compare(sortValue(a, column), sortValue(b, column), ascending));
  table.querySelectorAll('th').forEach((other) => other.removeAttribute('aria-sort'));
  heading.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
  table.append(...bodies);
}

document.querySelectorAll('th button').forEach((button) => {
  button.addEventListener('click', () => sortBy(button.parentNode));
});

// A table that is wider than the window says that it scrolls.
function showHints() {
  document.querySelectorAll('.wide').forEach((wide) => {
    const hint = wide.previousElementSibling;
    if (hint && hint.classList.contains('hint')) hint.hidden = wide.scrollWidth <= wide.clientWidth;
  });
}

showHints();
addEventListener('resize', showHints);

// Hovering over a point, or reaching it with Tab, shows its numbers.
const tip = document.getElementById('tip');

function showTip(mark, x, y) {
  tip.textContent = mark.dataset.tip;
  tip.style.display = 'block';
  const left = Math.min(x + 14, innerWidth - tip.offsetWidth - 8);
  const above = y + 14 + tip.offsetHeight > innerHeight;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${above ? y - 10 - tip.offsetHeight : y + 14}px`;
}

function hideTip() {
  tip.style.display = 'none';
}

document.querySelectorAll('[data-tip]').forEach((mark) => {
  const title = mark.querySelector('title');
  if (title) title.remove();
  mark.addEventListener('mousemove', (event) => showTip(mark, event.clientX, event.clientY));
  mark.addEventListener('focus', () => {
    const place = mark.getBoundingClientRect();
    showTip(mark, place.right, place.bottom);
  });
  mark.addEventListener('mouseleave', hideTip);
  mark.addEventListener('blur', hideTip);
});
