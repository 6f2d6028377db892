"""What is run on finished runs. Nothing but the command line imports it.

Played or recorded episodes (`player`, `tape`, `states`, `events`); what maps are of and what they are (`targets`,
`maps`), one file per method under ``methods``; controls of what they show (`controls`, `counterfactual`); features in
the plane (`projection`, `spectrum`) and asked what they know (``probing``); all of it drawn under ``figures``.
"""
