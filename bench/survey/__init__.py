"""The paper's user study: `python -m bench.survey` makes a page, `python -m bench.survey.result` reads its results."""
