"""List the model types whose tokenizers transformers has in Python only.

    python slow.py

Of these no tokenizer.json can be made. Run it with transformers 4 and with 5: the list in
split/modelfolder/slow.go has the types that are in neither's fast ones.
"""

import transformers
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

print("transformers", transformers.__version__)
for kind, names in TOKENIZER_MAPPING_NAMES.items():
    if isinstance(names, tuple):  # transformers 4: the slow and the fast class
        slow, fast = names
        if fast is None and slow:
            print(kind, slow)
    elif names:
        found = tokenizer_class_from_name(names)
        if found is not None and not issubclass(found, transformers.TokenizersBackend):
            print(kind, names)
