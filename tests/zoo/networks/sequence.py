"""Sequences: recurrent networks and transformers of torch.nn, samples first or second."""

import math
from functools import partial
from typing import Optional

import torch
from torch import nn
from torch.nn import functional as F

from network import Collection, mask, real, tokens

collection = Collection("sequences")


class Recurrent(nn.Module):
    """kind: LSTM, GRU or RNN; take: what of it is classified. Positions first inside unless batch_first."""

    def __init__(self, kind, take="last", batch_first=True, **more):
        super().__init__()
        self.rnn = getattr(nn, kind)(5, 6, batch_first=batch_first, **more)
        self.take, self.batch_first = take, batch_first
        self.fc = nn.Linear(12 if more.get("bidirectional") else 6, 4)

    def forward(self, x):
        if not self.batch_first:
            x = x.transpose(0, 1)
        out, state = self.rnn(x)
        if self.take == "state":
            hidden = state[0] if isinstance(state, tuple) else state
            return self.fc(hidden[-1])
        if not self.batch_first:
            out = out.transpose(0, 1)
        if self.take == "every":
            return self.fc(out)
        return self.fc(out.mean(1) if self.take == "mean" else out[:, -1, :])


SIGNAL = {"x": real(7, 5)}
for kind in ("LSTM", "GRU"):
    collection.add(f"{kind.lower()}_batch_first", SIGNAL, small=kind == "LSTM")(partial(Recurrent, kind))
    collection.add(f"{kind.lower()}_positions_first", SIGNAL, small=kind == "GRU")(
        partial(Recurrent, kind, batch_first=False)
    )
    collection.add(f"{kind.lower()}_bidirectional_two_layers", SIGNAL)(
        partial(Recurrent, kind, take="mean", batch_first=False, bidirectional=True, num_layers=2, dropout=0.2)
    )
collection.add("lstm_every_position", SIGNAL)(partial(Recurrent, "LSTM", take="every"))
collection.add("rnn_tanh", SIGNAL)(partial(Recurrent, "RNN"))
collection.add("lstm_projected", SIGNAL)(lambda: ProjectedLSTM())


class LastState(nn.Module):
    """Several layers' states put together, as in text classifiers."""

    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.fc = (
            nn.Embedding(50, 5),
            nn.LSTM(5, 6, num_layers=2, bidirectional=True),
            nn.Linear(12, 1),
        )

    def forward(self, text):
        out, (hidden, cell) = self.rnn(self.embedding(text.t()))
        return self.fc(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1))


collection.add("lstm_sentiment", {"text": tokens(7)})(LastState)


class Squeezed(LastState):
    """pytorch-sentiment-analysis: the state squeezed, the output squeezed."""

    def forward(self, text):
        out, (hidden, cell) = self.rnn(self.embedding(text.t()))
        return self.fc(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1)).squeeze(1)


collection.add("lstm_one_number_a_sample", {"text": tokens(7)})(Squeezed)


class ProjectedLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.fc = nn.LSTM(5, 8, proj_size=6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.rnn(x)[0][:, -1])


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.fc = nn.Embedding(50, 5), nn.GRU(5, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, text, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(text), lengths, batch_first=True, enforce_sorted=False
        )
        out, state = self.rnn(packed)
        return self.fc(state[-1])


collection.add("gru_packed", {"text": tokens(7), "lengths": lambda samples, generator: 7 - torch.arange(samples) % 5})(
    Packed
)


class Cells(nn.Module):
    """A loop over positions with an LSTM cell."""

    def __init__(self):
        super().__init__()
        self.cell, self.fc = nn.LSTMCell(5, 6), nn.Linear(6, 4)

    def forward(self, x):
        h = torch.zeros(x.size(0), 6, dtype=x.dtype, device=x.device)
        c = torch.zeros(x.size(0), 6, dtype=x.dtype, device=x.device)
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t], (h, c))
        return self.fc(h)


collection.add("lstm_cell_loop", SIGNAL)(Cells)


class Encoder(nn.Module):
    def __init__(self, batch_first, norm_first=False, activation="relu", causal=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, batch_first=batch_first, norm_first=norm_first, activation=activation
        )
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.embed, self.fc = nn.Linear(5, 8), nn.Linear(8, 4)
        self.batch_first, self.causal = batch_first, causal

    def forward(self, x):
        x = self.embed(x)
        if not self.batch_first:
            x = x.permute(1, 0, 2)
        length = x.shape[1] if self.batch_first else x.shape[0]
        allowed: Optional[torch.Tensor] = None
        if self.causal:
            allowed = torch.triu(torch.full((length, length), float("-inf"), device=x.device), diagonal=1)
        x = self.encoder(x, allowed)
        return self.fc(x.mean(1 if self.batch_first else 0))


collection.add("transformer_encoder_batch_first", SIGNAL)(partial(Encoder, True))
collection.add("transformer_encoder_positions_first", SIGNAL, small=True)(partial(Encoder, False))
collection.add("transformer_encoder_norm_first_gelu", SIGNAL)(partial(Encoder, True, True, "gelu"))
collection.add("transformer_encoder_causal", SIGNAL)(partial(Encoder, False, causal=True))


class PaddedEncoder(nn.Module):
    """Words that are missing are masked by src_key_padding_mask."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.embed, self.encoder, self.fc = (
            nn.Embedding(50, 8, padding_idx=0),
            nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
            nn.Linear(8, 4),
        )

    def forward(self, text, there):
        x = self.encoder(self.embed(text), src_key_padding_mask=~there)
        weight = there.unsqueeze(-1).to(x.dtype)
        return self.fc((x * weight).sum(1) / weight.sum(1))


collection.add("transformer_encoder_padding_mask", {"text": tokens(6), "there": mask(6, torch.bool)})(PaddedEncoder)


class MultiheadAttention(nn.Module):
    """Hands out its weights too."""

    def __init__(self, batch_first):
        super().__init__()
        self.attention, self.fc = nn.MultiheadAttention(8, 2, batch_first=batch_first), nn.Linear(8, 4)
        self.embed, self.batch_first = nn.Linear(5, 8), batch_first

    def forward(self, x):
        x = self.embed(x)
        if not self.batch_first:
            x = x.transpose(0, 1)
        out, weights = self.attention(x, x, x, need_weights=True)
        if not self.batch_first:
            out = out.transpose(0, 1)
        return self.fc(out[:, 0]), weights


collection.add("multihead_attention_batch_first", SIGNAL)(partial(MultiheadAttention, True))
collection.add("multihead_attention_positions_first", SIGNAL)(partial(MultiheadAttention, False))


class CrossAttention(nn.Module):
    """Learned queries look at the positions, as in Perceiver and Q-Former."""

    def __init__(self):
        super().__init__()
        self.queries, self.attention = nn.Parameter(torch.randn(3, 1, 8)), nn.MultiheadAttention(8, 2, kdim=5, vdim=5)
        self.fc = nn.Linear(24, 4)

    def forward(self, x):
        x = x.transpose(0, 1)
        out = self.attention(self.queries.expand(-1, x.shape[1], -1), x, x, need_weights=False)[0]
        return self.fc(out.transpose(0, 1).flatten(1))


collection.add("cross_attention_learned_queries", SIGNAL)(CrossAttention)


class Translator(nn.Module):
    """nn.Transformer with its encoder and decoder."""

    def __init__(self):
        super().__init__()
        self.source, self.destination = nn.Embedding(50, 8), nn.Embedding(50, 8)
        self.transformer, self.generator = nn.Transformer(8, 2, 1, 1, 16, batch_first=True), nn.Linear(8, 20)
        position = torch.arange(32).unsqueeze(1)
        divide = torch.exp(torch.arange(0, 8, 2) * (-math.log(10000.0) / 8))
        table = torch.zeros(32, 8)
        table[:, 0::2], table[:, 1::2] = torch.sin(position * divide), torch.cos(position * divide)
        self.register_buffer("pe", table)

    def forward(self, src, tgt):
        causal = torch.triu(torch.full((tgt.shape[1], tgt.shape[1]), float("-inf"), device=tgt.device), diagonal=1)
        x = self.source(src) * math.sqrt(8) + self.pe[: src.size(1)]
        y = self.destination(tgt) * math.sqrt(8) + self.pe[: tgt.size(1)]
        return self.generator(self.transformer(x, y, tgt_mask=causal))


collection.add("transformer_translation", {"src": tokens(6), "tgt": tokens(4)})(Translator)


class Chomp(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x[:, :, : -self.size].contiguous()


class TemporalBlock(nn.Module):
    """TCN: causal dilated convolutions under weight norm."""

    def __init__(self, inputs, outputs, dilation):
        super().__init__()
        weight_norm = torch.nn.utils.weight_norm
        self.conv1 = weight_norm(nn.Conv1d(inputs, outputs, 3, padding=2 * dilation, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(outputs, outputs, 3, padding=2 * dilation, dilation=dilation))
        self.net = nn.Sequential(
            self.conv1, Chomp(2 * dilation), nn.ReLU(), nn.Dropout(0.2), self.conv2, Chomp(2 * dilation), nn.ReLU()
        )
        self.downsample = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.net(x) + (x if self.downsample is None else self.downsample(x)))


class TCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.tcn, self.linear = nn.Sequential(TemporalBlock(5, 6, 1), TemporalBlock(6, 6, 2)), nn.Linear(6, 4)

    def forward(self, x):
        return self.linear(self.tcn(x.transpose(1, 2))[:, :, -1])


collection.add("tcn_weight_norm", SIGNAL)(TCN)


class TextCNN(nn.Module):
    """Convolutions of several widths over words, the maximum of each."""

    def __init__(self):
        super().__init__()
        self.embedding, self.fc = nn.Embedding(50, 5), nn.Linear(9, 4)
        self.convs = nn.ModuleList([nn.Conv2d(1, 3, (width, 5)) for width in (2, 3, 4)])

    def forward(self, text):
        x = self.embedding(text).unsqueeze(1)
        pooled = []
        for conv in self.convs:
            y = F.relu(conv(x)).squeeze(3)
            pooled.append(F.max_pool1d(y, y.shape[2]).squeeze(2))
        return self.fc(torch.cat(pooled, dim=1))


collection.add("text_cnn", {"text": tokens(8)})(TextCNN)


class Bag(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.bag, self.fc = nn.EmbeddingBag(50, 6, mode=mode), nn.Linear(6, 4)

    def forward(self, text):
        return self.fc(self.bag(text))


collection.add("embedding_bag_mean", {"text": tokens(6)})(partial(Bag, "mean"))
collection.add("embedding_bag_sum", {"text": tokens(6)})(partial(Bag, "sum"))


class Seq2Seq(nn.Module):
    """Attention over an encoder's states, the decoder one word at a time."""

    def __init__(self):
        super().__init__()
        self.embedding, self.encoder, self.decoder = nn.Embedding(50, 5), nn.GRU(5, 6), nn.GRUCell(11, 6)
        self.attn, self.out = nn.Linear(12, 1), nn.Linear(6, 10)

    def forward(self, src, trg):
        encoded, hidden = self.encoder(self.embedding(src.t()))
        hidden = hidden.squeeze(0)
        outputs = []
        for t in range(trg.size(1)):
            energy = self.attn(torch.cat((hidden.unsqueeze(0).expand(encoded.size(0), -1, -1), encoded), dim=2))
            context = (torch.softmax(energy, dim=0) * encoded).sum(0)
            hidden = self.decoder(torch.cat((self.embedding(trg[:, t]), context), dim=1), hidden)
            outputs.append(self.out(hidden))
        return torch.stack(outputs, dim=1)


collection.add("seq2seq_attention", {"src": tokens(6), "trg": tokens(3)})(Seq2Seq)


class StateSpace(nn.Module):
    """A linear recurrence over positions with gates, as in state space models."""

    def __init__(self):
        super().__init__()
        self.in_proj, self.x_proj = nn.Linear(5, 12), nn.Linear(6, 9)
        self.A_log, self.D, self.dt_proj, self.out_proj = (
            nn.Parameter(torch.rand(6, 4)),
            nn.Parameter(torch.ones(6)),
            nn.Linear(1, 6),
            nn.Linear(6, 4),
        )

    def forward(self, x):
        inner, gate = self.in_proj(x).chunk(2, dim=-1)
        inner = F.silu(inner)
        dt, B, C = torch.split(self.x_proj(inner), [1, 4, 4], dim=-1)
        dt = F.softplus(self.dt_proj(dt))
        A = -torch.exp(self.A_log)
        decay = torch.exp(dt.unsqueeze(-1) * A)
        drive = dt.unsqueeze(-1) * B.unsqueeze(2) * inner.unsqueeze(-1)
        state = torch.zeros_like(drive[:, 0])
        ys = []
        for t in range(x.size(1)):
            state = decay[:, t] * state + drive[:, t]
            ys.append((state * C[:, t].unsqueeze(1)).sum(-1))
        y = torch.stack(ys, dim=1) + inner * self.D
        return self.out_proj(y * F.silu(gate)).mean(1)


collection.add("state_space", SIGNAL)(StateSpace)
