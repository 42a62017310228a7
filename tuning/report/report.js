// Draws the figures, and fits them to the page while it is printed.
const figures = JSON.parse(document.getElementById("figures").textContent);
const config = { displayModeBar: false, responsive: true };

for (const [id, figure] of Object.entries(figures)) {
  Plotly.newPlot(id, figure.data, figure.layout, config);
}

// A figure keeps the width of the screen when the page is printed; 182 mm is what A4 leaves beside the margins.
const PRINT_PIXELS = 688;

function fit(columns) {
  for (const id of Object.keys(figures)) {
    const place = document.getElementById(id);
    Plotly.relayout(id, columns ? { width: columns / Number(place.dataset.columns) - 14 } : { width: null, autosize: true });
  }
}

addEventListener("beforeprint", () => fit(PRINT_PIXELS));
addEventListener("afterprint", () => fit(null));
