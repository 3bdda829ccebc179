"""Language models in the style of Hugging Face's transformers: small, the code as it is written there."""

import collections
import math
from typing import Optional

import torch
from torch import nn
from torch.nn import functional as F

from network import Collection, mask, real, tokens

collection = Collection("Hugging Face")


class ModelOutput(collections.OrderedDict):
    """Outputs by name and by attribute, as transformers has them; None is left out."""

    def __init__(self, **values):
        super().__init__((key, value) for key, value in values.items() if value is not None)

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def copy(self):
        return ModelOutput(**self)


def extended(attention_mask, dtype):
    """An additive mask: 0 where there is a token, the least number elsewhere."""
    return (1.0 - attention_mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min


class BertSelfAttention(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads, self.size = heads, hidden // heads
        self.query, self.key, self.value = (
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, hidden),
        )
        self.dropout = nn.Dropout(0.1)

    def transpose_for_scores(self, x):
        return x.view(x.size()[:-1] + (self.heads, self.size)).permute(0, 2, 1, 3)

    def forward(self, hidden_states, attention_mask=None, output_attentions=False):
        query = self.transpose_for_scores(self.query(hidden_states))
        key = self.transpose_for_scores(self.key(hidden_states))
        value = self.transpose_for_scores(self.value(hidden_states))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(self.size)
        if attention_mask is not None:
            scores = scores + attention_mask
        probabilities = self.dropout(nn.functional.softmax(scores, dim=-1))
        context = torch.matmul(probabilities, value).permute(0, 2, 1, 3).contiguous()
        context = context.view(context.size()[:-2] + (self.heads * self.size,))
        return (context, probabilities) if output_attentions else (context,)


class BertSelfOutput(nn.Module):
    def __init__(self, inner, hidden):
        super().__init__()
        self.dense, self.LayerNorm, self.dropout = (
            nn.Linear(inner, hidden),
            nn.LayerNorm(hidden, eps=1e-12),
            nn.Dropout(0.1),
        )

    def forward(self, hidden_states, input_tensor):
        return self.LayerNorm(self.dropout(self.dense(hidden_states)) + input_tensor)


class BertAttention(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.self, self.output = BertSelfAttention(hidden, heads), BertSelfOutput(hidden, hidden)

    def forward(self, hidden_states, attention_mask=None, output_attentions=False):
        outputs = self.self(hidden_states, attention_mask, output_attentions)
        return (self.output(outputs[0], hidden_states),) + outputs[1:]


class BertLayer(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.attention = BertAttention(hidden, heads)
        self.intermediate = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.GELU())
        self.output = BertSelfOutput(2 * hidden, hidden)

    def forward(self, hidden_states, attention_mask=None, output_attentions=False):
        outputs = self.attention(hidden_states, attention_mask, output_attentions)
        return (self.output(self.intermediate(outputs[0]), outputs[0]),) + outputs[1:]


class BertEmbeddings(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.word_embeddings = nn.Embedding(50, hidden, padding_idx=0)
        self.position_embeddings, self.token_type_embeddings = nn.Embedding(32, hidden), nn.Embedding(2, hidden)
        self.LayerNorm, self.dropout = nn.LayerNorm(hidden, eps=1e-12), nn.Dropout(0.1)
        self.register_buffer("position_ids", torch.arange(32).expand((1, -1)))
        self.register_buffer(
            "token_type_ids", torch.zeros(self.position_ids.size(), dtype=torch.long), persistent=False
        )

    def forward(self, input_ids, token_type_ids=None):
        shape = input_ids.size()
        if token_type_ids is None:
            token_type_ids = self.token_type_ids[:, : shape[1]].expand(shape[0], shape[1])
        embeddings = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        embeddings += self.position_embeddings(self.position_ids[:, : shape[1]])
        return self.dropout(self.LayerNorm(embeddings))


class Bert(nn.Module):
    """shared: one layer that is called several times, as in ALBERT."""

    def __init__(self, hidden=16, layers=2, shared=False, everything=False, pooled=True):
        super().__init__()
        self.embeddings = BertEmbeddings(hidden)
        self.encoder = nn.ModuleList([BertLayer(hidden, 4) for _ in range(1 if shared else layers)])
        self.pooler = nn.Sequential(collections.OrderedDict(dense=nn.Linear(hidden, hidden), activation=nn.Tanh()))
        self.classifier = nn.Linear(hidden, 3)
        self.layers, self.shared, self.everything, self.pooled = layers, shared, everything, pooled

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None):
        x = self.embeddings(input_ids, token_type_ids)
        if attention_mask is None:
            attention_mask = torch.ones(input_ids.shape, device=input_ids.device)
        additive = extended(attention_mask, x.dtype)
        states, attentions = (x,), ()
        for i in range(self.layers):
            outputs = self.encoder[0 if self.shared else i](x, additive, self.everything)
            x = outputs[0]
            states, attentions = states + (x,), attentions + outputs[1:]
        logits = self.classifier(self.pooler(x[:, 0]) if self.pooled else x)
        if self.everything:
            return ModelOutput(loss=None, logits=logits, hidden_states=states, attentions=attentions)
        return ModelOutput(logits=logits)


TEXT = {"input_ids": tokens(7), "attention_mask": mask(7)}
collection.add("bert", TEXT, small=True)(Bert)
collection.add("bert_without_mask", {"input_ids": tokens(7)})(Bert)
collection.add("bert_token_types", {**TEXT, "token_type_ids": tokens(7, 2)})(Bert)
collection.add("bert_hidden_states_and_attentions", TEXT)(lambda: Bert(everything=True))
collection.add("bert_token_classification", TEXT)(lambda: Bert(pooled=False))
collection.add("albert_shared_layer", TEXT)(lambda: Bert(layers=3, shared=True))
collection.add("bert_double", TEXT, type=torch.float64)(Bert)


class Roberta(Bert):
    """Positions are counted over the words that are not padding."""

    def forward(self, input_ids, attention_mask=None):
        words = input_ids.ne(0).int()
        positions = (torch.cumsum(words, dim=1).type_as(words) * words).long()
        x = self.embeddings.LayerNorm(
            self.embeddings.word_embeddings(input_ids) + self.embeddings.position_embeddings(positions)
        )
        for layer in self.encoder:
            x = layer(x, None if attention_mask is None else extended(attention_mask, x.dtype))[0]
        return self.classifier(x[:, 0, :])


collection.add("roberta", TEXT)(Roberta)


class DistilBert(nn.Module):
    """masked_fill by a mask that may be absent."""

    def __init__(self, hidden=16):
        super().__init__()
        self.word, self.position, self.norm = nn.Embedding(50, hidden), nn.Embedding(32, hidden), nn.LayerNorm(hidden)
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(hidden, hidden) for _ in range(4))
        self.pre_classifier, self.classifier = nn.Linear(hidden, hidden), nn.Linear(hidden, 4)

    def forward(self, input_ids, attention_mask: Optional[torch.Tensor] = None):
        batch, length = input_ids.shape
        x = self.norm(self.word(input_ids) + self.position(torch.arange(length, device=input_ids.device)).unsqueeze(0))
        if attention_mask is None:
            attention_mask = torch.ones(batch, length, device=input_ids.device)

        q = self.q_lin(x).view(batch, -1, 4, 4).transpose(1, 2) / math.sqrt(4)
        k, v = self.k_lin(x).view(batch, -1, 4, 4).transpose(1, 2), self.v_lin(x).view(batch, -1, 4, 4).transpose(1, 2)
        scores = torch.matmul(q, k.transpose(2, 3))
        absent = (attention_mask == 0).view(batch, 1, 1, length).expand_as(scores)
        weights = torch.softmax(scores.masked_fill(absent, -float("inf")), dim=-1)
        context = torch.matmul(weights, v).transpose(1, 2).contiguous().view(batch, -1, 16)
        x = x + self.out_lin(context)
        return self.classifier(F.relu(self.pre_classifier(x[:, 0])))


collection.add("distilbert", TEXT)(DistilBert)
collection.add("distilbert_without_mask", {"input_ids": tokens(7)})(DistilBert)


class Conv1D(nn.Module):
    """A linear layer whose weight lies the other way round, as GPT-2's."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.outputs = outputs
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs) * 0.2), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        size = x.size()[:-1] + (self.outputs,)
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(size)


class NewGELU(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class GPT2Attention(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.hidden, self.heads = hidden, heads
        self.c_attn, self.c_proj = Conv1D(3 * hidden, hidden), Conv1D(hidden, hidden)
        self.register_buffer("bias", torch.tril(torch.ones((32, 32), dtype=torch.bool)).view(1, 1, 32, 32))
        self.attn_dropout, self.resid_dropout = nn.Dropout(0.1), nn.Dropout(0.1)

    def split(self, x):
        return x.view(x.size()[:-1] + (self.heads, self.hidden // self.heads)).permute(0, 2, 1, 3)

    def forward(self, x):
        query, key, value = (self.split(part) for part in self.c_attn(x).split(self.hidden, dim=2))
        weights = torch.matmul(query, key.transpose(-1, -2)) / (value.size(-1) ** 0.5)
        queries, keys = query.size(-2), key.size(-2)
        causal = self.bias[:, :, keys - queries : keys, :keys]
        weights = torch.where(causal, weights, torch.full([], torch.finfo(weights.dtype).min, dtype=weights.dtype))
        weights = self.attn_dropout(nn.functional.softmax(weights, dim=-1).type(value.dtype))
        out = torch.matmul(weights, value).permute(0, 2, 1, 3).contiguous()
        return self.resid_dropout(self.c_proj(out.view(out.size()[:-2] + (self.hidden,))))


class GPT2Block(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(hidden), GPT2Attention(hidden, 4), nn.LayerNorm(hidden)
        self.mlp = nn.Sequential(
            collections.OrderedDict(
                c_fc=Conv1D(4 * hidden, hidden),
                act=NewGELU(),
                c_proj=Conv1D(hidden, 4 * hidden),
                dropout=nn.Dropout(0.1),
            )
        )

    def forward(self, x):
        x = self.attn(self.ln_1(x)) + x
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.wte, self.wpe, self.drop = nn.Embedding(50, hidden), nn.Embedding(32, hidden), nn.Dropout(0.1)
        self.h = nn.ModuleList([GPT2Block(hidden) for _ in range(2)])
        self.ln_f, self.lm_head = nn.LayerNorm(hidden), nn.Linear(hidden, 50, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, input_ids):
        shape = input_ids.size()
        position = (
            torch.arange(0, shape[-1], dtype=torch.long, device=input_ids.device).unsqueeze(0).view(-1, shape[-1])
        )
        x = self.drop(self.wte(input_ids) + self.wpe(position))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x).view(shape + (x.size(-1),)))


collection.add("gpt2_tied_head", {"input_ids": tokens(6)}, small=True)(GPT2)


class RMSNorm(nn.Module):
    def __init__(self, hidden, eps=1e-6):
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.ones(hidden)), eps

    def forward(self, x):
        kind = x.dtype
        x = x.to(torch.float32)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * x.to(kind)


class RotaryEmbedding(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, size, 2).float() / size)), persistent=False)

    def forward(self, x, position_ids):
        with torch.no_grad():
            angles = torch.matmul(position_ids[:, :, None].float(), self.inv_freq[None, None, :].float())
            angles = torch.cat((angles, angles), dim=-1)
            return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


def rotate_half(x):
    return torch.cat((-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]), dim=-1)


class LlamaLayer(nn.Module):
    """Grouped-query attention: two heads of keys for four of queries."""

    def __init__(self, hidden):
        super().__init__()
        self.q_proj, self.o_proj = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden, bias=False)
        self.k_proj, self.v_proj = nn.Linear(hidden, hidden // 2, bias=False), nn.Linear(
            hidden, hidden // 2, bias=False
        )
        self.gate_proj, self.up_proj = nn.Linear(hidden, 3 * hidden, bias=False), nn.Linear(
            hidden, 3 * hidden, bias=False
        )
        self.down_proj, self.act_fn = nn.Linear(3 * hidden, hidden, bias=False), nn.SiLU()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(hidden), RMSNorm(hidden)

    def forward(self, x, cos, sin, causal):
        batch, length, hidden = x.size()
        residual, x = x, self.input_layernorm(x)
        q = self.q_proj(x).view(batch, length, 4, -1).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, 2, -1).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, 2, -1).transpose(1, 2)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        k = k[:, :, None].expand(batch, 2, 2, length, k.size(-1)).reshape(batch, 4, length, k.size(-1))
        v = v[:, :, None].expand(batch, 2, 2, length, v.size(-1)).reshape(batch, 4, length, v.size(-1))
        weights = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(q.size(-1)) + causal
        weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(q.dtype)
        x = residual + self.o_proj(torch.matmul(weights, v).transpose(1, 2).contiguous().view(batch, length, hidden))
        normed = self.post_attention_layernorm(x)
        return x + self.down_proj(self.act_fn(self.gate_proj(normed)) * self.up_proj(normed))


class Llama(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.embed_tokens, self.norm = nn.Embedding(50, hidden), RMSNorm(hidden)
        self.layers = nn.ModuleList([LlamaLayer(hidden) for _ in range(2)])
        self.rotary_emb, self.lm_head = RotaryEmbedding(hidden // 4), nn.Linear(hidden, 50, bias=False)

    def forward(self, input_ids, attention_mask: Optional[torch.Tensor] = None):
        x = self.embed_tokens(input_ids)
        batch, length = input_ids.shape
        cos, sin = self.rotary_emb(x, torch.arange(length, device=x.device)[None, :])
        causal = torch.triu(torch.full((length, length), torch.finfo(torch.float32).min, device=x.device), diagonal=1)
        causal = causal[None, None].expand(batch, 1, length, length)
        if attention_mask is not None:
            causal = causal.masked_fill(attention_mask[:, None, None, :] == 0, torch.finfo(torch.float32).min)
        for layer in self.layers:
            x = layer(x, cos, sin, causal)
        return self.lm_head(self.norm(x))


collection.add("llama_rotary_grouped_queries", {"input_ids": tokens(6)})(Llama)
collection.add("llama_masked", {"input_ids": tokens(6), "attention_mask": mask(6)})(Llama)


class T5Attention(nn.Module):
    """Positions enter as a bias by their distance, in buckets."""

    def __init__(self, hidden, bias, bidirectional):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(hidden, hidden, bias=False) for _ in range(4))
        self.relative_attention_bias = nn.Embedding(8, 4) if bias else None
        self.bidirectional = bidirectional

    def buckets(self, relative):
        result, buckets = torch.zeros_like(relative), 8
        if self.bidirectional:
            buckets //= 2
            result = result + (relative > 0).to(torch.long) * buckets
            relative = torch.abs(relative)
        else:
            relative = -torch.min(relative, torch.zeros_like(relative))
        exact = buckets // 2
        large = exact + (torch.log(relative.float() / exact) / math.log(16 / exact) * (buckets - exact)).to(torch.long)
        large = torch.min(large, torch.full_like(large, buckets - 1))
        return result + torch.where(relative < exact, relative, large)

    def forward(self, x, other=None, bias=None):
        source = x if other is None else other
        batch, length = x.shape[:2]

        def heads(states):
            return states.view(batch, -1, 4, 4).transpose(1, 2)

        q, k, v = heads(self.q(x)), heads(self.k(source)), heads(self.v(source))
        scores = torch.matmul(q, k.transpose(3, 2))
        if self.relative_attention_bias is not None:
            memory, context = torch.arange(k.shape[2])[None, :], torch.arange(length)[:, None]
            bias = self.relative_attention_bias(self.buckets(memory - context)).permute([2, 0, 1]).unsqueeze(0)
            if not self.bidirectional:
                bias = bias + torch.triu(torch.full((length, length), -1e9), diagonal=1)
        if bias is not None:
            scores += bias
        weights = nn.functional.softmax(scores.float(), dim=-1).type_as(scores)
        out = torch.matmul(weights, v).transpose(1, 2).contiguous().view(batch, -1, 16)
        return self.o(out), bias


class T5Block(nn.Module):
    def __init__(self, hidden, decoder, first):
        super().__init__()
        self.attention, self.norm = T5Attention(hidden, first, not decoder), RMSNorm(hidden)
        self.cross = T5Attention(hidden, False, True) if decoder else None
        self.cross_norm = RMSNorm(hidden) if decoder else None
        self.wi, self.wo, self.ff_norm = (
            nn.Linear(hidden, 32, bias=False),
            nn.Linear(32, hidden, bias=False),
            RMSNorm(hidden),
        )

    def forward(self, x, encoded=None, bias=None):
        out, bias = self.attention(self.norm(x), bias=bias)
        x = x + out
        if self.cross is not None:
            x = x + self.cross(self.cross_norm(x), encoded)[0]
        return x + self.wo(F.relu(self.wi(self.ff_norm(x)))), bias


class T5(nn.Module):
    """Encoder and decoder, one embedding for both."""

    def __init__(self, hidden=16):
        super().__init__()
        self.shared = nn.Embedding(50, hidden)
        self.encoder = nn.ModuleList([T5Block(hidden, False, i == 0) for i in range(2)])
        self.decoder = nn.ModuleList([T5Block(hidden, True, i == 0) for i in range(2)])
        self.encoder_norm, self.decoder_norm = RMSNorm(hidden), RMSNorm(hidden)

    def forward(self, input_ids, decoder_input_ids):
        x, bias = self.shared(input_ids), None
        for block in self.encoder:
            x, bias = block(x, bias=bias)
        encoded = self.encoder_norm(x)
        y, bias = self.shared(decoder_input_ids), None
        for block in self.decoder:
            y, bias = block(y, encoded, bias)
        logits = torch.matmul(self.decoder_norm(y) * (16**-0.5), self.shared.weight.transpose(0, 1))
        return {"logits": logits, "encoder_last_hidden_state": encoded}


collection.add("t5_encoder_decoder", {"input_ids": tokens(6), "decoder_input_ids": tokens(4)})(T5)


class CLIP(nn.Module):
    """Image and text towers; the scores of each image with its own text and with fixed prompts."""

    def __init__(self, hidden=16):
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, hidden, 8, stride=8, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(hidden))
        self.position_embedding = nn.Embedding(17, hidden)
        self.register_buffer("position_ids", torch.arange(17).expand((1, -1)))
        self.vision_layer, self.text_layer = BertLayer(hidden, 4), BertLayer(hidden, 4)
        self.text = BertEmbeddings(hidden)
        self.visual_projection, self.text_projection = nn.Linear(hidden, 8, bias=False), nn.Linear(
            hidden, 8, bias=False
        )
        self.prompts = nn.Parameter(torch.randn(5, 8))
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))

    def forward(self, pixel_values, input_ids):
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(pixel_values.shape[0], 1, -1)
        image = torch.cat([first, patches], dim=1) + self.position_embedding(self.position_ids)
        image = self.visual_projection(self.vision_layer(image)[0][:, 0, :])
        text = self.text_layer(self.text(input_ids))[0]
        text = self.text_projection(text[torch.arange(text.shape[0], device=text.device), input_ids.argmax(dim=-1)])
        image = image / image.norm(p=2, dim=-1, keepdim=True)
        text = text / text.norm(p=2, dim=-1, keepdim=True)
        scale = self.logit_scale.exp()
        return ModelOutput(
            logits_per_prompt=scale * image @ self.prompts.t(),
            similarity=scale * (image * text).sum(-1),
            text_embeds=text,
            image_embeds=image,
        )


collection.add("clip_image_and_text", {"pixel_values": real(3, 32, 32), "input_ids": tokens(6)}, small=True)(CLIP)


class FNet(nn.Module):
    """Fourier transforms in the place of attention."""

    def __init__(self, hidden=16):
        super().__init__()
        self.embedding, self.norm, self.ff = nn.Embedding(50, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, 3)

    def forward(self, input_ids):
        x = self.embedding(input_ids)
        x = self.norm(x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real)
        return self.classifier((x + torch.nn.functional.gelu(self.ff(x))).mean(1))


collection.add("fnet", {"input_ids": tokens(6)})(FNet)


class Disentangled(nn.Module):
    """DeBERTa's attention: content to position by gathered distances."""

    def __init__(self, hidden=16):
        super().__init__()
        self.embedding, self.rel_embeddings = nn.Embedding(50, hidden), nn.Embedding(16, hidden)
        self.query, self.key, self.value, self.pos_key = (nn.Linear(hidden, hidden) for _ in range(4))
        self.classifier = nn.Linear(hidden, 3)

    def forward(self, input_ids):
        x = self.embedding(input_ids)
        q, k, v = self.query(x), self.key(x), self.value(x)
        places = torch.arange(x.size(1), device=x.device)
        relative = (places[:, None] - places[None, :] + 8).clamp(0, 15)
        position = torch.matmul(q, self.pos_key(self.rel_embeddings.weight).transpose(0, 1))
        position = torch.gather(position, -1, relative.unsqueeze(0).expand(x.size(0), -1, -1))
        weights = ((q @ k.transpose(-1, -2) + position) / math.sqrt(32.0)).softmax(-1)
        return self.classifier((weights @ v)[:, 0])


collection.add("deberta_disentangled", {"input_ids": tokens(6)})(Disentangled)


class Embeddings(nn.Module):
    """sentence-transformers: mean over the words that are there, then length one."""

    def __init__(self):
        super().__init__()
        self.bert = Bert(pooled=False)
        self.bert.classifier = nn.Identity()

    def forward(self, input_ids, attention_mask):
        x = self.bert(input_ids, attention_mask).logits
        there = attention_mask.unsqueeze(-1).expand(x.size()).float()
        pooled = torch.sum(x * there, 1) / torch.clamp(there.sum(1), min=1e-9)
        return {"sentence_embedding": F.normalize(pooled, p=2, dim=1), "token_embeddings": x}


collection.add("sentence_embedding", TEXT)(Embeddings)
