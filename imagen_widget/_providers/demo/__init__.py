"""A fal-compatible queue that needs no account and draws its own pictures.

It is written from the documented wire format and imports nothing of the client, so that when the
two agree it is evidence, not an echo. A picture given as input is changed by the words that
`painter.EFFECTS` lists. Words in brackets control a single job:

| in the prompt       | what happens                                                    |
|---------------------|-----------------------------------------------------------------|
| `[demo:queue=3]`    | three requests are in front of this one                         |
| `[demo:slow=20]`    | the whole job takes twenty seconds                              |
| `[demo:few]`        | one picture fewer than asked (`[demo:few=2]`: two fewer)        |
| `[demo:filtered]`   | one picture is flagged and blacked out                          |
| `[demo:reject]`     | the content checker refuses the prompt                          |
| `[demo:silent]`     | the model returns no picture and gives no reason                |
| `[demo:fail]`       | the machine is lost while it works                              |
| `[demo:stubborn]`   | the job goes on although it was cancelled                       |
| `[demo:inline]`     | pictures come inside the result, as `data:` addresses           |
| `[demo:balance]`    | the account is empty: the request is not accepted               |
| `[demo:retired]`    | the model is switched off: the request is not accepted          |
"""
