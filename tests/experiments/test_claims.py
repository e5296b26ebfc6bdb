"Claims are judged by their numbers, and by nothing else; the README says what the verdicts are."
import json
import re

from conftest import ROOT

from adafocus.experiments.claims import CLAIMS, VERDICTS, check_claims, verdict
from adafocus.experiments.results import Results
from adafocus.experiments.tables import PAGES, summary_table

RESULTS = ROOT/'nbs'/'results'/'laptop.jsonl'
NUMBERS = {'no': 0, 'one': 1, 'two': 2, 'three': 3}


def test_every_claim_is_judged_by_its_numbers():
    rows = check_claims(Results(RESULTS))
    assert len(rows) == len(CLAIMS) == 23 and {row['verdict'] for row in rows} <= set(VERDICTS)
    assert verdict([.01, .02, .03]) == 'agrees' and verdict([-.01, -.02, -.03]) == 'disagrees'
    assert verdict([.5, .5, -.01]) == 'inconclusive' and verdict([.01, .02]) == 'too few seeds'


def test_the_readme_has_the_verdicts():
    rows, text = check_claims(Results(RESULTS)), (ROOT/'README.md').read_text()
    assert summary_table(rows, 'nbs/9_experiments/pages/') in text
    said = re.search(r'Of (\w+) claims (\w+) hold here, (\w+) do(?:es)? not, and (\w+) are inconclusive', text)
    counts = [int(NUMBERS.get(n, n)) for n in said.groups()]
    assert counts == [len(rows), *(sum(row['verdict'] == v for row in rows) for v in ('agrees', 'disagrees', 'inconclusive'))]
    for page in PAGES.values(): assert (ROOT/f'nbs/9_experiments/pages/{page}.ipynb').is_file()


def test_turned_round_a_claim_is_turned_round(tmp_path):
    "With the scores of the policies exchanged, the claims of Table 7 disagree."
    lines = [json.loads(line) for line in RESULTS.open()]
    for x in lines:
        if x['kind'] == 'result' and x['experiment'] == 'policies':
            by = {r['variant']: r for r in x['rows']}
            by['learned']['score'], by['random']['score'] = by['random']['score'], by['learned']['score']
    (tmp_path/'turned.jsonl').write_text(''.join(json.dumps(x) + '\n' for x in lines))
    def verdicts(path):
        return {row['claim']: row['verdict'] for row in check_claims(Results(path)) if row['where'] == 'Table 7'}
    before, after = verdicts(RESULTS), verdicts(tmp_path/'turned.jsonl')
    assert before.keys() == after.keys() and len(before) == 5
    for claim, said in before.items():
        if said == 'agrees': assert after[claim] == 'disagrees', claim
